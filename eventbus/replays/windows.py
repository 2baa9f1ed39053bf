"""What a replay reads of the archive: counts before it starts, and windows of bounded size while it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from eventbus.contracts.rows import WIRE_COLUMNS, WireFields
from eventbus.contracts.versions import ROUTING_KEY
from eventbus.db.sql import fetch

#: Rows that one window reads, however few of them it wants: a rare type must not make one statement run for long.
READ_AT_MOST = 5_000

NEWEST = "SELECT id FROM event ORDER BY id DESC LIMIT 1"
# An event in the outbox is sent as well: the relay may have published it before the consumer's queue was bound, and not
# forgotten it yet.
_SETTLED = "EXISTS (SELECT FROM processed_event p WHERE p.event_id = e.id AND p.consumer = %(consumer)s)"
_DEAD_LETTER = """EXISTS (SELECT FROM dead_letter d WHERE d.event_id = e.id AND d.consumer = %(consumer)s
    AND d.state IN ('open', 'replaying'))"""
COUNT = f"""
SELECT e.type,
       CASE WHEN p.outcome IN ('done', 'discarded') THEN 'handled'
            WHEN p.outcome IS NOT NULL OR {_DEAD_LETTER} THEN 'dead'
            WHEN o.event_id IS NOT NULL THEN 'outbox'
            ELSE 'missing' END,
       count(*)
FROM event e
LEFT JOIN processed_event p ON p.event_id = e.id AND p.consumer = %(consumer)s
LEFT JOIN outbox o ON o.event_id = e.id
WHERE e.id > %(after)s AND e.id <= %(upto)s AND {ROUTING_KEY} = ANY(%(keys)s) {{narrow}}
GROUP BY 1, 2 ORDER BY 1, 2
"""
COUNT_ALL = f"SELECT count(*) FROM event e WHERE e.id <= %s AND {ROUTING_KEY} = ANY(%s)"
BOUNDARY = f"""
SELECT id FROM (
    SELECT e.id FROM event e WHERE e.id > %(after)s AND e.id <= %(upto)s {{narrow}} ORDER BY e.id LIMIT {READ_AT_MOST}
) AS read ORDER BY id DESC LIMIT 1
"""
WINDOW = f"""
SELECT {WIRE_COLUMNS}
FROM event e
WHERE e.id > %(after)s AND e.id <= %(boundary)s AND {ROUTING_KEY} = ANY(%(keys)s) {{narrow}}
  AND NOT {_SETTLED} AND NOT {_DEAD_LETTER}
ORDER BY e.id LIMIT %(limit)s
"""


@dataclass(frozen=True)
class Window:
    """The next events to send. Once they are sent, everything up to `position` is behind; None: the end is reached."""

    events: Sequence[WireFields]
    position: UUID | None


def newest() -> UUID | None:
    """The id of the newest event that is committed; None where there is none."""
    return next((event_id for (event_id,) in fetch(NEWEST, [])), None)


def count(
    consumer: str, keys: Sequence[str], after: UUID, upto: UUID, filters: dict[str, Any]
) -> dict[str, dict[str, int]]:
    """How many events of each type the consumer has `handled`, has as `dead` letters, has in the `outbox`, misses."""
    params = {"consumer": consumer, "keys": list(keys), "after": after, "upto": upto, **_exact(filters)}
    found: dict[str, dict[str, int]] = {}
    for kind, outcome, number in fetch(COUNT.format(narrow=_narrow(filters)), params):
        found.setdefault(kind, {})[outcome] = number
    return found


def count_all(keys: Sequence[str], upto: UUID) -> int:
    """How many events of these contracts there are."""
    ((number,),) = fetch(COUNT_ALL, [upto, list(keys)])
    return int(number)


def window(consumer: str, keys: Sequence[str], after: UUID, upto: UUID, filters: dict[str, Any], limit: int) -> Window:
    """The next events behind an id that the consumer has not settled, at most `limit`."""
    narrow = _narrow(filters)
    params = {"consumer": consumer, "keys": list(keys), "after": after, "upto": upto, "limit": limit, **_exact(filters)}
    boundary = next((event_id for (event_id,) in fetch(BOUNDARY.format(narrow=narrow), params)), None)
    if boundary is None:
        return Window([], None)
    rows = fetch(WINDOW.format(narrow=narrow), {**params, "boundary": boundary})
    events = [WireFields(*row) for row in rows]
    return Window(events, events[-1].event_id if len(events) == limit else boundary)


def _exact(filters: dict[str, Any]) -> dict[str, Any]:
    return {name: filters[name] for name in ("aggregate_id", "correlation_id") if filters.get(name)}


def _narrow(filters: dict[str, Any]) -> str:
    return "".join(f" AND e.{name} = %({name})s" for name in _exact(filters))
