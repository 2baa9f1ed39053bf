"""How far the outbox is behind."""

from dataclasses import dataclass
from uuid import UUID

from django.db import connection

from eventbus.ids import seconds_since

# Both ends of an index, so that it costs the same however long the outbox is. Positions are unique: there can't be more
# rows than from the first to the last, but there can be far fewer.
_ENDS = """
SELECT coalesce(max(position) - min(position) + 1, 0),
       (SELECT event_id FROM outbox WHERE blocked_key IS NULL ORDER BY position LIMIT 1)
FROM outbox
"""

_COUNT = "SELECT count(*) FROM (SELECT FROM outbox LIMIT %s) AS counted"


@dataclass(frozen=True, slots=True)
class Lag:
    """`rows`: events that are not published, counted no further than asked for. `seconds`: the age of the oldest one.

    What waits for a full queue counts as a row but not by its age: one consumer's trouble must not stop the others.
    """

    rows: int
    seconds: float
    oldest: UUID | None


def outbox_lag(*, count_to: int) -> Lag:
    """How far behind the relays are. Exact up to `count_to` rows."""
    with connection.cursor() as cursor:
        cursor.execute(_ENDS)
        rows, oldest = cursor.fetchone() or (0, None)
        if rows > count_to:
            cursor.execute(_COUNT, [count_to])
            (rows,) = cursor.fetchone() or (0,)
    return Lag(rows, seconds_since(oldest) if oldest else 0.0, oldest)
