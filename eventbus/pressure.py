"""Back-pressure: how far the outbox is behind, and whether what records more should wait."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from uuid import UUID

from django.conf import settings
from django.db import connection

#: Seconds between two looks of a process, while it keeps up and while it doesn't.
LOOK = 1.0
PAUSE = 5

# Both ends of an index, so that it costs the same however long the outbox is. Positions are unique: there can't be more
# rows than from the first to the last, but there can be far fewer.
_ENDS = """
SELECT coalesce(max(position) - min(position) + 1, 0),
       (SELECT event_id FROM outbox WHERE held_by IS NULL ORDER BY position LIMIT 1)
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


def seconds_since(event_id: UUID) -> float:
    """The age of an event by its id, which is a UUIDv7; never below zero."""
    return max(0.0, datetime.now(UTC).timestamp() - (event_id.int >> 80) / 1000)


class Gate:
    """Whether more may be recorded, looked up once a second per process and not once per request."""

    def __init__(self) -> None:
        self._looking = threading.Lock()
        self._next_look = 0.0
        self._retry_after: int | None = None

    def seconds_to_wait(self) -> int | None:
        """After how many seconds to ask again; None while the outbox keeps up."""
        # Whoever comes while another thread looks goes by what was seen last.
        if monotonic() >= self._next_look and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looking.release()
        return self._retry_after

    def _look(self) -> None:
        lag = outbox_lag(count_to=settings.OUTBOX_LIMIT_ROWS)
        behind = lag.rows >= settings.OUTBOX_LIMIT_ROWS or lag.seconds >= settings.OUTBOX_LIMIT_SECONDS
        self._retry_after = PAUSE if behind else None
        # While it is behind the rows have to be counted, which takes longer.
        self._next_look = monotonic() + (PAUSE if behind else LOOK)


gate = Gate()
