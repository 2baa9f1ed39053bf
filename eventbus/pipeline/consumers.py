"""One consumer in full."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q

from eventbus.contracts.versions import event_type_of
from eventbus.db.clock import database_time
from eventbus.dead_letters.models import DeadLetterGroup, DeadLetterState
from eventbus.declaration import CONSUMERS, Consumer
from eventbus.heartbeats.processes import ProcessStatus, processes, worker_kind
from eventbus.pipeline.now import Curve, FiringAlarm, curves, firing, is_fresh
from eventbus.retries.queries import waiting_retries
from eventbus.subscriptions.models import Subscription
from eventbus.subscriptions.noting import EPOCH

#: Rows of each list.
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Binding:
    """A contract that it listens to; `since` is None where it got the whole archive."""

    routing_key: str
    event_type: str
    since: datetime | None
    heard_at: datetime | None


@dataclass(frozen=True, slots=True)
class ConsumerInFull:
    """A consumer: what it declares, how it does, and what waits for it or was given up."""

    name: str
    declared: Consumer | None
    bindings: Sequence[Binding]
    now: datetime
    window: str
    curve: Curve
    process: ProcessStatus | None
    retries: Sequence[Any]
    groups: Sequence[Any]
    alarms: Sequence[FiringAlarm]

    @property
    def is_fresh(self) -> bool:
        latest = self.curve.latest
        return is_fresh(latest.at if latest else None, self.now)

    @property
    def handled(self) -> int:
        """Events that it has handled in this window."""
        return sum(point.done for point in self.curve.points)

    @property
    def given_up(self) -> int:
        """Events that it has given up in this window."""
        return sum(point.dead for point in self.curve.points)


def consumer_in_full(name: str, window: str = "1h") -> ConsumerInFull | None:
    """What is known of a consumer; None where none is or was called that. Raises DatabaseError, KeyError."""
    declared, now = CONSUMERS.get(name), database_time()
    bindings = [
        Binding(
            row.routing_key, event_type_of(row.routing_key), None if row.since == EPOCH else row.since, row.heard_at
        )
        for row in Subscription.objects.filter(consumer=name).order_by("routing_key")
    ]
    if declared is None and not bindings:
        return None
    kind = worker_kind(declared.group) if declared else ""
    groups = DeadLetterGroup.objects.filter(consumer=name).annotate(
        opened=Count("letters", filter=Q(letters__state=DeadLetterState.OPEN))
    )
    return ConsumerInFull(
        name=name,
        declared=declared,
        bindings=bindings,
        now=now,
        window=window,
        curve=curves(now, window, name).get(name, Curve()),
        process=next((each for each in processes() if each.kind == kind), None),
        retries=list(waiting_retries(consumer=name)[:SHOWN]),
        groups=list(groups.order_by("-opened", "-last_seen")[:SHOWN]),
        alarms=firing([name]),
    )


def consumer_names() -> list[str]:
    """Every consumer that the code declares."""
    return sorted(CONSUMERS)
