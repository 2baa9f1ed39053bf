"""From an id to its story."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from eventbus.contracts.registry import CONTRACTS
from eventbus.contracts.rows import WIRE_COLUMNS, WireFields
from eventbus.db.clock import database_time
from eventbus.db.sql import fetch
from eventbus.ids import FROM_THE_START, first_id_at
from eventbus.traces.outcomes import deliveries
from eventbus.traces.story import Story, tell

#: Events of a story at most. A correlation id may be that of a nightly import.
LIMIT = 500

# A thing and all that came of it, by causes: its correlation ids may be others' too, as of three parcels that were
# dispatched at once.
_OF_THINGS = f"""
WITH RECURSIVE own AS MATERIALIZED (
    SELECT id, correlation_id FROM event WHERE aggregate_id = ANY(%(things)s) ORDER BY id LIMIT %(limit)s
), told AS MATERIALIZED (
    SELECT id, causation_id FROM event WHERE correlation_id IN (SELECT DISTINCT correlation_id FROM own)
), story AS (
    SELECT id FROM own UNION SELECT told.id FROM told JOIN story ON told.causation_id = story.id
)
SELECT {WIRE_COLUMNS} FROM event e WHERE e.id = ANY(ARRAY(SELECT id FROM story)) ORDER BY e.id LIMIT %(limit)s
"""
_OF_CORRELATION = f"""
SELECT {WIRE_COLUMNS} FROM event e WHERE e.correlation_id = %(correlation)s ORDER BY e.id LIMIT %(limit)s
"""
# Of one type there may be few: then no further back than a day, for there is no index on types.
_LATEST = f"""
SELECT {WIRE_COLUMNS} FROM event e
WHERE e.id < %(before)s AND e.id >= %(since)s AND (%(type)s = '' OR e.type = %(type)s)
ORDER BY e.id DESC LIMIT %(limit)s
"""
_KEY = "SELECT type, aggregate_type, aggregate_id, correlation_id FROM event WHERE id = %s"


@dataclass(frozen=True, slots=True)
class EventKey:
    """What an event is about, and which story it belongs to."""

    event_type: str
    aggregate_type: str
    aggregate_id: str
    correlation_id: str


def event_key(event_id: UUID) -> EventKey | None:
    """What is known of an event by its id; None where the archive has none of it."""
    found = fetch(_KEY, [event_id])
    return EventKey(*found[0]) if found else None


def latest_events(*, event_type: str = "", before: UUID | None = None, limit: int) -> list[WireFields]:
    """The newest events, newest first; of one type, those of the last day. `before`: older than this one."""
    params = {
        "before": before or UUID(int=2**128 - 1),
        "type": event_type,
        "since": first_id_at(database_time() - timedelta(days=1)) if event_type else FROM_THE_START,
        "limit": limit,
    }
    return [WireFields(*row) for row in fetch(_LATEST, params)]


def event_types() -> list[str]:
    """Every type of event that the code declares."""
    return sorted({event_type for event_type, _ in CONTRACTS})


def story_of_things(ids: Collection[object]) -> Story:
    """What happened to these aggregates, and came of it. For those of few events, such as an order and its mails."""
    return _story(_OF_THINGS, {"things": [str(each) for each in ids]})


def story_of_correlation(correlation_id: str) -> Story:
    """All that one action of a user caused."""
    return _story(_OF_CORRELATION, {"correlation": correlation_id})


def _story(statement: str, params: dict[str, object]) -> Story:
    rows = [WireFields(*row) for row in fetch(statement, params | {"limit": LIMIT + 1})]
    told = rows[:LIMIT]
    found = deliveries(row.event_id for row in told) if told else {}
    return tell(told, found, is_cut=len(rows) > LIMIT)
