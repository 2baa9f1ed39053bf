"""Order per aggregate, for the consumers that ask for it.

Broker order breaks on the first retry, so the database keeps it. A row per (consumer, aggregate) says up to which
number the aggregate's events are handled, and its lock lets one worker at a time go on from there. Whatever event
arrives, the earlier ones are read from the archive and handled first; their own deliveries are duplicates then. Behind
a dead letter the later ones are noted as waiting, and its replay handles them in the same breath.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import connection

from eventbus.contracts.codec import from_row
from eventbus.contracts.event import Envelope, Event
from eventbus.contracts.rows import WIRE_COLUMNS, WireFields
from eventbus.contracts.versions import ROUTING_KEY
from eventbus.declaration import Consumer
from eventbus.errors import EventbusError, InvalidEvent

# Sorted, so that two batches with the same aggregates cannot deadlock.
OPEN = """
INSERT INTO ordered_position (consumer, aggregate_type, aggregate_id, sequence)
SELECT %s, kind, id, 0 FROM unnest(%s::text[], %s::text[]) AS t(kind, id) ORDER BY kind, id
ON CONFLICT DO NOTHING
"""
LOCK = """
SELECT p.aggregate_type, p.aggregate_id, p.sequence
FROM ordered_position p
JOIN unnest(%s::text[], %s::text[]) AS t(kind, id) ON p.aggregate_type = kind AND p.aggregate_id = id
WHERE p.consumer = %s ORDER BY kind, id FOR UPDATE OF p
"""
# A waiting event behind the newest arrival goes along, so the upper bound is the last one that waits or arrives.
BACKLOG = f"""
SELECT {WIRE_COLUMNS}, coalesce(done.outcome, '')
FROM unnest(%s::text[], %s::text[], %s::int[], %s::int[]) AS t(kind, id, after, upto)
JOIN event e ON e.aggregate_id = t.id AND e.aggregate_type = t.kind AND e.sequence > t.after
LEFT JOIN processed_event done ON done.event_id = e.id AND done.consumer = %s
WHERE {ROUTING_KEY} = ANY(%s) AND (e.sequence <= t.upto OR done.outcome = 'waiting')
ORDER BY e.aggregate_type, e.aggregate_id, e.sequence
"""
ADVANCE = """
UPDATE ordered_position p SET sequence = t.upto
FROM unnest(%s::text[], %s::text[], %s::int[]) AS t(kind, id, upto)
WHERE p.consumer = %s AND p.aggregate_type = t.kind AND p.aggregate_id = t.id AND p.sequence < t.upto
"""
# A dead letter that is replayed before the one it stands behind waits for that one, as a first delivery would.
WAIT = """
INSERT INTO processed_event AS noted (event_id, consumer, attempts, outcome)
SELECT event_id, %s, 1, 'waiting' FROM unnest(%s::uuid[]) AS t(event_id) ORDER BY event_id
ON CONFLICT (event_id, consumer) DO UPDATE SET outcome = 'waiting' WHERE noted.outcome = 'dead'
"""

Aggregate = tuple[str, str]


class BlockedByEarlier(EventbusError):
    """An earlier event of the aggregate failed, not the one that was delivered: that one waits and uses no attempt."""


@dataclass(frozen=True)
class Plan:
    """What an ordered run does: `due` is handled in this order, `waiting` is behind a dead letter."""

    due: list[Event]
    waiting: list[UUID]


def plan(consumer: Consumer, arrivals: Sequence[Event]) -> Plan:
    """Lock the arrivals' aggregates and find what is due, in order. Call it inside the run's transaction."""
    upto: dict[Aggregate, int] = {}
    for event in arrivals:
        key = aggregate_of(event.envelope)
        upto[key] = max(upto.get(key, 0), event.envelope.sequence)
    positions = _lock(consumer, sorted(upto))
    backlog = _backlog(consumer, positions, upto)
    return arrange(arrivals, backlog)


def arrange(arrivals: Sequence[Event], backlog: Sequence[tuple[Event, str]]) -> Plan:
    """Order the backlog (events with their inbox outcomes, oldest first per aggregate) and what only the wire knows."""
    arrived = {event.envelope.event_id for event in arrivals}
    archived = {event.envelope.event_id for event, _ in backlog}
    due: list[Event] = []
    waiting: list[UUID] = []
    blocked: set[Aggregate] = set()
    for event, outcome in backlog:
        envelope = event.envelope
        key = aggregate_of(envelope)
        if outcome == "dead" and envelope.event_id not in arrived:
            blocked.add(key)
        elif key in blocked:
            waiting.append(envelope.event_id)
        elif outcome not in ("done", "discarded"):
            due.append(event)
    # Not in the archive: another program's event. Its inbox row says whether it is handled.
    due.extend(event for event in arrivals if event.envelope.event_id not in archived)
    return Plan(due, waiting)


def advance(consumer: Consumer, handled: Sequence[Event]) -> None:
    """Note up to where the aggregates are handled now."""
    upto: dict[Aggregate, int] = {}
    for event in handled:
        key = aggregate_of(event.envelope)
        upto[key] = max(upto.get(key, 0), event.envelope.sequence)
    if upto:
        kinds, ids = _columns(list(upto))
        with connection.cursor() as cursor:
            cursor.execute(ADVANCE, [kinds, ids, list(upto.values()), consumer.name])


def let_wait(consumer: Consumer, event_ids: Sequence[UUID]) -> None:
    """Note events that wait behind a dead letter: the archive keeps them, the broker may forget them."""
    if event_ids:
        with connection.cursor() as cursor:
            cursor.execute(WAIT, [consumer.name, list(event_ids)])


def aggregate_of(envelope: Envelope) -> Aggregate:
    return envelope.aggregate_type, envelope.aggregate_id


def _columns(aggregates: Sequence[Aggregate]) -> tuple[list[str], list[str]]:
    return [kind for kind, _ in aggregates], [key for _, key in aggregates]


def _lock(consumer: Consumer, aggregates: Sequence[Aggregate]) -> dict[Aggregate, int]:
    kinds, ids = _columns(aggregates)
    with connection.cursor() as cursor:
        cursor.execute(OPEN, [consumer.name, kinds, ids])
        cursor.execute(LOCK, [kinds, ids, consumer.name])
        return {(kind, key): sequence for kind, key, sequence in cursor.fetchall()}


def _backlog(
    consumer: Consumer, positions: dict[Aggregate, int], upto: dict[Aggregate, int]
) -> list[tuple[Event, str]]:
    aggregates = list(positions)
    kinds, ids = _columns(aggregates)
    with connection.cursor() as cursor:
        cursor.execute(
            BACKLOG,
            [
                kinds,
                ids,
                [positions[key] for key in aggregates],
                [upto[key] for key in aggregates],
                consumer.name,
                list(consumer.reads),
            ],
        )
        return [(_read(consumer, WireFields(*fields)), outcome) for *fields, outcome in cursor.fetchall()]


def _read(consumer: Consumer, fields: WireFields) -> Event:
    try:
        return consumer.as_read(from_row(fields))
    except InvalidEvent as error:
        raise BlockedByEarlier(f"{fields.event_id}: {error}") from error
