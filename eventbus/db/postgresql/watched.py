"""A connection that knows when no answer will come any more.

A network, a proxy or a frozen server may swallow what was said and acknowledge every byte of it: then no time-out of
TCP's ever passes, and PostgreSQL's own time-outs are on the wrong side. A statement may take hours, so a time alone
says nothing either. So whoever has waited for some seconds asks, over a second connection, whether the server is still
at it.
"""

from time import monotonic
from typing import Any, Self, TypeVar

import psycopg
import structlog
from psycopg.abc import PQGen

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Seconds without an answer after which the server is asked what became of the question, and again and again.
PATIENCE = 5.0
#: Seconds that each step of asking may take: to connect, and to get the answer.
ASKING = 3
#: Seconds for which an answer may be on its way.
ON_ITS_WAY = 2

# Behind a pooler such as PgBouncer neither of the two process ids is the server's.
ASK = f"""
SELECT pg_backend_pid(),
       (SELECT CASE WHEN state = 'active' OR state_change > clock_timestamp() - interval '{ON_ITS_WAY} s' THEN 'at it'
                    WHEN state LIKE 'idle%%' THEN 'done' END
        FROM pg_stat_activity WHERE pid = %s)
"""


class WatchedConnection(psycopg.Connection[Any]):
    """Raises ConnectionTimeout, an OperationalError, and is closed, where no answer will come."""

    #: Seconds that any answer may take, whatever the server is at. None: as long as the server is at it.
    answer_within: float | None = None

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Every wait for the server goes through here."""
        if timeout is not None:  # whoever waits for a notification
            return super().wait(gen, interval, timeout)
        began = monotonic()
        while True:
            try:
                return super().wait(gen, interval, self._patience(began))
            except psycopg.errors._WaitTimeout:
                waited = monotonic() - began
                is_too_long = self.answer_within is not None and waited >= self.answer_within
                if is_too_long or self._is_lost():
                    # Without a goodbye, which would go nowhere.
                    self.pgconn.finish()
                    log.warning("database.no_answer", waited_seconds=round(waited, 1))
                    raise psycopg.errors.ConnectionTimeout(f"no answer within {waited:.0f} seconds") from None

    def _patience(self, began: float) -> float:
        if self.answer_within is None:
            return PATIENCE
        return max(0.0, min(PATIENCE, began + self.answer_within - monotonic()))

    def _is_lost(self) -> bool:
        """Whether the server does not answer anybody, or has done what it was asked, or never heard of it."""
        try:
            with self._ask() as asking:
                asking.answer_within = ASKING
                own_pid, finding = asking.execute(ASK, [self.info.backend_pid]).fetchone() or (None, None)
                return finding != "at it" and (finding == "done" or own_pid == asking.info.backend_pid)
        except psycopg.errors.ConnectionTimeout:
            return True
        except psycopg.Error as error:
            # It says no, such as when it has no connection left: it is there.
            log.warning("database.not_asked", error=str(error))
            return False

    def _ask(self) -> Self:
        known: dict[str, Any] = self.info.get_parameters() | {
            "host": self.info.host,
            "hostaddr": self.info.hostaddr,
            "port": self.info.port,
            "password": self.info.password,
            "connect_timeout": ASKING,
            # Who counts sessions by their name must not count this one.
            "application_name": "is it lost?",
        }
        return self.connect(**known, autocommit=True)
