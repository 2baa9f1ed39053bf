"""The time, as the database's clock has it.

Machines' clocks differ, and what several processes compare (deadlines, ages, the order of ids) has to come from one
clock. Asking the database each time costs a round trip, so each process keeps how far its own clock is from it: looked
at when a connection opens and whenever an event is recorded. See docs/decisions/0019.
"""

from datetime import UTC, datetime, timedelta
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import structlog
from django.db.backends.signals import connection_created

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

log = structlog.get_logger(__name__)

#: Seconds by which two clocks may differ before anything is corrected. Machines that keep time are much closer.
TOLERANCE = 0.1
#: The time of the database's clock in seconds since 1970, as SQL.
DATABASE_TIME = "extract(epoch FROM clock_timestamp())::float8"

# The database's clock less our monotonic one, which nobody sets; None while our own clock agrees with the database's.
_skew: float | None = None


def database_time() -> datetime:
    """The time by the database's clock, as far as this process knows."""
    return datetime.now(UTC) + timedelta(seconds=seconds_ahead())


def seconds_ahead() -> float:
    """By how much the database's clock is ahead of this process's. 0 where they agree, which is nearly always."""
    global _skew
    if _skew is None:
        return 0.0
    ahead = _skew + monotonic() - time()
    if abs(ahead) <= TOLERANCE:
        # Ours was set right.
        _skew, ahead = None, 0.0
    return ahead


def note(before: float, database: float, after: float) -> None:
    """The database said this at some moment between these two of ours. Far apart, they mean a slow answer."""
    global _skew
    known = seconds_ahead()
    if before - TOLERANCE <= database - known <= after + TOLERANCE:
        return
    ahead = database - min(max(database, before), after)
    _skew = None if abs(ahead) <= TOLERANCE else time() + ahead - monotonic()
    log.warning("clock.differs", database_is_ahead_by_seconds=round(ahead, 3))


def watch() -> None:
    """From now on, look at the database's clock at each new connection: the first id that is drawn is right already."""
    connection_created.connect(_look, dispatch_uid=__name__)


def _look(sender: object, connection: "BaseDatabaseWrapper", **_: Any) -> None:
    before = time()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {DATABASE_TIME}")
        (database,) = cursor.fetchone() or (before,)
    note(before, database, time())
