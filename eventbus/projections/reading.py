"""What of the archive the shadow tables lack, window by window.

An event is due where the consumer has handled it, and where it was there before the consumer listened. What is on its
way to the consumer is left to its delivery, a dead letter to its replay: so the shadow tables have what the live
tables should have at the same moment.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from eventbus.contracts.codec import from_row
from eventbus.contracts.event import Event
from eventbus.contracts.rows import WireFields
from eventbus.contracts.versions import ROUTING_KEY
from eventbus.db.sql import fetch
from eventbus.declaration import Consumer
from eventbus.projections.shadow_tables import ShadowTables

IS_MINE = f"e.type = ANY(%(types)s) AND {ROUTING_KEY} = ANY(%(keys)s)"
# Scalar subqueries look each event up by its key; a join may be planned as a hash of the whole inbox, for each window.
CANDIDATES = f"""
SELECT e.*,
    (SELECT p.outcome FROM processed_event p WHERE p.event_id = e.id AND p.consumer = %(consumer)s) AS outcome,
    (SELECT s.since FROM subscription s WHERE s.consumer = %(consumer)s AND s.routing_key = {ROUTING_KEY}) AS since
"""
IS_DUE = "coalesce(c.outcome = 'done', c.since IS NULL OR c.occurred_at < c.since)"
# Searched by id and type alone. The planner takes any further condition for a rare one, and would rather sort the whole
# archive for each window. The last row always comes: the next window begins behind it.
_READ = f"""
SELECT c.id, c.type, c.version, c.aggregate_type, c.aggregate_id, c.sequence, c.occurred_at, c.correlation_id,
       c.causation_id, c.user_id, CASE WHEN {IS_DUE} THEN c.data::text END, c.outcome IS NOT NULL, c.is_other
FROM (
    {CANDIDATES} FROM (
        SELECT w.*, lead(w.id) OVER (ORDER BY w.id) IS NULL AS is_last
        FROM (
            SELECT e.*, {ROUTING_KEY} <> ALL(%(keys)s)
                OR (SELECT true FROM {{applied}} a WHERE a.event_id = e.id) IS NOT NULL AS is_other
            {{source}}
        ) w
    ) e
    WHERE NOT e.is_other OR e.is_last OFFSET 0
) c ORDER BY {{order}}
"""
#: Where a window comes from: the archive, events that are named, or what the last pass had to leave out.
ARCHIVE = "FROM event e WHERE e.id > %(after)s AND e.type = ANY(%(types)s) ORDER BY e.id LIMIT %(limit)s"
NAMED = "FROM event e WHERE e.id = ANY(%(ids)s::uuid[]) ORDER BY e.id"
LEFT_OUT = """
FROM {left_out} l JOIN event e ON e.id = l.event_id
WHERE l.event_id > %(after)s ORDER BY l.event_id LIMIT %(limit)s
"""
_MISSING = f"""
SELECT e.id FROM event e
WHERE e.id > %(after)s AND {IS_MINE} AND NOT EXISTS (SELECT FROM {{applied}} a WHERE a.event_id = e.id) ORDER BY e.id
"""
# An aggregate's ids may be out of its order, within moments. An ordered handler gets all up to the window's newest.
_UP_TO = """
FROM unnest(%(kinds)s::text[], %(aggregates)s::text[], %(upto)s::int[]) AS t(kind, key, upto)
LEFT JOIN {position} r ON r.aggregate_type = t.kind AND r.aggregate_id = t.key
JOIN event e ON e.aggregate_id = t.key AND e.aggregate_type = t.kind
            AND e.sequence > coalesce(r.sequence, 0) AND e.sequence <= t.upto
WHERE e.type = ANY(%(types)s)
"""


@dataclass
class Window:
    """Events that are due, for each whether the inbox has it as done, and the ids of events that are not due."""

    last: UUID
    due: list[Event] = field(default_factory=list)
    done: list[bool] = field(default_factory=list)
    left_out: list[UUID] = field(default_factory=list)


def missing(shadow: ShadowTables, after: UUID) -> list[UUID]:
    """The ids behind `after` of what the shadow tables lack, due or not: quicker than by windows."""
    return [
        event_id
        for (event_id,) in fetch(_MISSING.format(**notes_of(shadow)), {"after": after, **subscribed(shadow.consumer)})
    ]


def next_window(shadow: ShadowTables, source: str, params: dict[str, Any]) -> Window | None:
    """What the shadow tables lack of the events that the source has for these parameters; None where it has none.

    For an ordered consumer also what is earlier in their aggregates. Raises InvalidEvent where no contract reads one.
    """
    window = _read(shadow, source, "c.id", params)
    if window is None or not shadow.consumer.ordered or not window.due:
        return window
    upto: dict[tuple[str, str], int] = {}
    for event in window.due:
        key = event.envelope.aggregate_type, event.envelope.aggregate_id
        upto[key] = max(upto.get(key, 0), event.envelope.sequence)
    aggregates = {"kinds": [k for k, _ in upto], "aggregates": [k for _, k in upto], "upto": list(upto.values())}
    ordered = _read(shadow, _UP_TO, "c.aggregate_type, c.aggregate_id, c.sequence", aggregates)
    assert ordered is not None
    return Window(window.last, ordered.due, ordered.done, window.left_out)


def _read(shadow: ShadowTables, source: str, order: str, params: dict[str, Any]) -> Window | None:
    notes = notes_of(shadow)
    statement = _READ.format(source=source.format(**notes), order=order, applied=notes["applied"])
    found = fetch(statement, {**params, **subscribed(shadow.consumer)})
    if not found:
        return None
    window = Window(found[-1][0])
    for *fields, is_done, is_other in found:
        if is_other:
            continue
        if fields[-1] is None:
            window.left_out.append(fields[0])
        else:
            window.due.append(shadow.consumer.as_read(from_row(WireFields(*fields))))
            window.done.append(is_done)
    return window


def subscribed(consumer: Consumer) -> dict[str, Any]:
    """Parameters that say which events are this consumer's."""
    return {
        "consumer": consumer.name,
        "types": sorted({contract.type for contract in consumer.on}),
        "keys": list(consumer.reads),
    }


def notes_of(shadow: ShadowTables) -> dict[str, str]:
    """The tables of notes, by the names that the statements here use."""
    return {name: shadow.notes(name) for name in ("applied", "left_out", "position", "state")}


def remaining(shadow: ShadowTables) -> int:
    """How many of the consumer's events the archive has and the shadow tables lack, due or not."""
    statement = f"SELECT count(*) - (SELECT applied FROM {shadow.notes('state')}) FROM event e WHERE {IS_MINE}"
    ((found,),) = fetch(statement, subscribed(shadow.consumer))
    return int(found)


def counts(shadow: ShadowTables) -> Iterator[tuple[str, int]]:
    """How many of the consumer's events the archive has, by what the consumer made of them: handled and older ones
    are due."""
    statement = f"""
        SELECT CASE WHEN c.outcome = 'done' THEN 'handled' WHEN {IS_DUE} THEN 'from before it listened'
                    ELSE coalesce(c.outcome, 'on its way') END, count(*)
        FROM ({CANDIDATES} FROM event e WHERE {IS_MINE}) c GROUP BY 1 ORDER BY 2 DESC
    """
    yield from fetch(statement, subscribed(shadow.consumer))
