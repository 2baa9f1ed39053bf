"""Relay and broker in the test's own hands: each event waits at each consumer until somebody delivers it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock

from django.db import transaction

from eventbus import Consumer, Event
from eventbus.archive.models import ArchivedEvent
from eventbus.declaration import CONSUMERS
from eventbus.relay.models import Outbox
from eventbus.testing import deliver, from_archive


@dataclass(frozen=True)
class Delivery:
    consumer: Consumer
    event: Event


@dataclass
class Pump:
    """Only what has no effects outside the database is delivered. Thread-safe."""

    waiting: list[Delivery] = field(default_factory=list)
    delivered: list[Delivery] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def relay(self) -> None:
        """Take what is in the outbox to the consumers that listen."""
        with self._lock, transaction.atomic():
            rows = list(Outbox.objects.order_by("position"))
            archived = ArchivedEvent.objects.in_bulk([row.event_id for row in rows])
            Outbox.objects.filter(pk__in=[row.pk for row in rows]).delete()
            for row in rows:
                self.waiting.extend(everywhere(from_archive(archived[row.event_id])))

    def take(self, place: int, count: int = 1) -> list[Delivery]:
        """What waits at this place, and up to so many in all that wait at the same consumer."""
        with self._lock:
            if not self.waiting:
                return []
            consumer = self.waiting[place % len(self.waiting)].consumer
            found = [each for each in self.waiting[place % len(self.waiting) :] if each.consumer is consumer][:count]
            for each in found:
                self.waiting.remove(each)
            return found

    def run(self, deliveries: Sequence[Delivery]) -> None:
        """Deliver these, which are of one consumer, as one batch; what follows waits then."""
        if deliveries:
            deliver([each.event for each in deliveries], to=deliveries[0].consumer)
            self.delivered.extend(deliveries)
        self.relay()

    def drain(self) -> None:
        """Deliver everything, the newest first: what is a consequence overtakes what is not."""
        self.relay()
        while deliveries := self.take(-1):
            self.run(deliveries)


def everywhere(event: Event) -> Iterator[Delivery]:
    """The event at each consumer that listens to it."""
    for consumer in CONSUMERS.values():
        if event.routing_key() in consumer.routing_keys and not consumer.side_effects:
            yield Delivery(consumer, event)
