"""Messages of events that the database has forgotten, found in the queues.

What is read stays the broker's until it is acknowledged: whoever dies in between leaves it where it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from kombu import Connection

from eventbus.broker import topology
from eventbus.contracts.codec import decode
from eventbus.contracts.event import Event
from eventbus.db.sql import fetch
from eventbus.declaration import CONSUMERS
from eventbus.errors import InvalidEvent
from eventbus.ids import first_id_at

#: An event that commits so much later than it got its id may be forgotten as well.
LATE_COMMIT = timedelta(minutes=2)
BATCH = 500

ARCHIVED = "SELECT id FROM event WHERE id = ANY(%s)"


@dataclass
class Forgotten:
    """Events that were recorded after the moment, and are not in the archive; `where` they were found."""

    events: dict[UUID, Event] = field(default_factory=dict)
    bodies: dict[UUID, bytes] = field(default_factory=dict)
    where: dict[UUID, set[str]] = field(default_factory=dict)
    tags: list[int] = field(default_factory=list)

    def look_at(self, bodies: list[tuple[bytes, int | None]], where: str, since: datetime) -> None:
        """Keep those of these messages, with their delivery tags, that are forgotten."""
        oldest = first_id_at(since - LATE_COMMIT)
        events = [(event, body, tag) for body, tag in bodies if (event := _read(body))]
        recent = [each for each in events if each[0].envelope.event_id >= oldest]
        known = {event_id for (event_id,) in fetch(ARCHIVED, [[event.envelope.event_id for event, *_ in recent]])}
        for event, body, tag in recent:
            event_id = event.envelope.event_id
            if event_id in known:
                continue
            self.events[event_id], self.bodies[event_id] = event, body
            self.where.setdefault(event_id, set()).add(where)
            if tag is not None:
                self.tags.append(tag)

    def named(self) -> list[str]:
        """Each in words, oldest first."""
        return [
            f"{described(event)}: in {', '.join(sorted(self.where[event_id]))}"
            for event_id, event in sorted(self.events.items())
        ]


def described(event: Event) -> str:
    """What it is, without anything that it says of anybody."""
    return f"{event.type} {event.envelope.event_id} of {event.aggregate_type} {event.aggregate_id}"


def consumed(channel: Any, names: list[str]) -> list[str]:
    """Those of these queues that somebody consumes."""
    return [name for name in names if channel.queue_declare(name, passive=True).consumer_count]


def names(broker: Connection) -> list[str]:
    """The queues that events may be in, as far as they are there."""
    missing = {queue.name for queue in topology.missing(broker)}
    wanted = [topology.UNROUTED]
    for consumer in CONSUMERS.values():
        wanted += [consumer.name, consumer.dead_queue]
    return [name for name in wanted if name not in missing]


def look_through(channel: Any, queues: list[str], since: datetime) -> Forgotten:
    """Read these queues to their ends. When the channel ends, all that was not acknowledged is back in them."""
    # Bodies as they are: their authors may have been wrong about the encoding.
    channel.auto_decode = False
    found = Forgotten()
    for name in queues:
        for batch in _batches(channel, name):
            found.look_at(batch, name, since)
    return found


def remove(channel: Any, found: Forgotten) -> None:
    """Take what was found out of the queues."""
    for tag in found.tags:
        channel.basic_ack(tag)


def keep_alive(broker: Connection) -> None:
    """Keep the connection while the database works. Raises one of BROKER_ERRORS when it is lost."""
    try:
        broker.drain_events(timeout=0)
    except TimeoutError:
        pass
    broker.heartbeat_check()


def _batches(channel: Any, name: str) -> Iterator[list[tuple[bytes, int | None]]]:
    batch: list[tuple[bytes, int | None]] = []
    while (message := channel.basic_get(name)) is not None:
        body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
        batch.append((body, message.delivery_tag))
        if len(batch) == BATCH:
            yield batch
            batch = []
    yield batch


def _read(body: bytes) -> Event | None:
    """None for what is no event: its consumer makes a dead letter of it."""
    try:
        return decode(body)
    except InvalidEvent:
        return None
