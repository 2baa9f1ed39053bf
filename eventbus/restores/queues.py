"""Messages of events that the database has forgotten, found in the queues.

They are read twice: to know them, and to remove them once it is decided what becomes of them. In between they are back
in their queues, so that the database may take its time, and whoever dies leaves everything where it was.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from kombu import Connection

from eventbus.broker import topology
from eventbus.contracts.casting import is_older
from eventbus.contracts.codec import decode
from eventbus.contracts.event import Event
from eventbus.db.sql import fetch
from eventbus.declaration import CONSUMERS
from eventbus.errors import InvalidEvent
from eventbus.ids import LATE_COMMIT, first_id_at

BATCH = 500

ARCHIVED = "SELECT id FROM event WHERE id = ANY(%s)"


@dataclass
class Forgotten:
    """Events that were recorded after the moment, and are not in the archive; `where` they were found."""

    events: dict[UUID, Event] = field(default_factory=dict)
    bodies: dict[UUID, bytes] = field(default_factory=dict)
    where: dict[UUID, set[str]] = field(default_factory=dict)
    #: How many of each queue's messages are of such events.
    messages: Counter[str] = field(default_factory=Counter)

    def look_at(self, bodies: Sequence[bytes], where: str, since: datetime) -> None:
        """Keep those of these messages that are forgotten."""
        oldest = first_id_at(since - LATE_COMMIT)
        events = [(event, body) for body in bodies if (event := _read(body))]
        recent = [(event, body) for event, body in events if event.envelope.event_id >= oldest]
        known = {event_id for (event_id,) in fetch(ARCHIVED, [[event.envelope.event_id for event, _ in recent]])}
        for event, body in recent:
            event_id = event.envelope.event_id
            if event_id in known:
                continue
            # A copy for those who know an older version says less than the event itself.
            if event_id not in self.events or not is_older(event, type(self.events[event_id])):
                self.events[event_id], self.bodies[event_id] = event, body
            self.where.setdefault(event_id, set()).add(where)
            self.messages[where] += 1

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
    """Read these queues to their ends; all is back in them afterwards."""
    found = Forgotten()
    for name in queues:
        batch: list[bytes] = []
        for body, _ in _messages(channel, name):
            batch.append(body)
            if len(batch) == BATCH:
                found.look_at(batch, name, since)
                batch = []
        found.look_at(batch, name, since)
    channel.basic_recover(requeue=True)
    return found


def remove(channel: Any, queues: list[str], found: Forgotten) -> int:
    """Take what was found out of these queues; returns how many messages are left of it."""
    left = 0
    for name in queues:
        if found.messages[name]:
            left += found.messages[name]
            for body, tag in _messages(channel, name):
                event = _read(body)
                if event is not None and event.envelope.event_id in found.events:
                    channel.basic_ack(tag)
                    left -= 1
    return left


def _messages(channel: Any, name: str) -> Iterator[tuple[bytes, int]]:
    # Bodies as they are: their authors may have been wrong about the encoding.
    channel.auto_decode = False
    while (message := channel.basic_get(name)) is not None:
        yield message.body.encode() if isinstance(message.body, str) else bytes(message.body), message.delivery_tag


def _read(body: bytes) -> Event | None:
    """None for what is no event: its consumer makes a dead letter of it."""
    try:
        return decode(body)
    except InvalidEvent:
        return None
