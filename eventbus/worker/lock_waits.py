"""How long a run waits for a row that another transaction has locked: a second; and for a while after it has waited in
vain, a tenth of one. Who has kept a row for so long keeps it a little longer, and others wait behind this run.

A setting of the session; behind a transaction pooler, which gives each transaction another one, of each transaction.
"""

from time import monotonic

from eventbus.db.pooler import goes_through_pooler
from eventbus.db.sql import fetch

#: PostgreSQL's `lock_timeout` in a worker's sessions.
LONG, SHORT = "1s", "100ms"
#: Seconds for which waits are short.
SHORT_FOR = 15.0

_short_until: float | None = None
_timeout = LONG


def shorten() -> None:
    """A run of this process has waited in vain."""
    global _short_until
    _set(SHORT)
    _short_until = monotonic() + SHORT_FOR


def lengthen_when_over() -> None:
    """Wait as usual again, some time after the last wait in vain. Call it before a run."""
    global _short_until
    if _short_until is not None and monotonic() > _short_until:
        _set(LONG)
        _short_until = None


def limit_transaction() -> None:
    """Call it first in the transaction of a run."""
    if goes_through_pooler():
        fetch("SELECT set_config('lock_timeout', %s, true)", [_timeout])


def _set(timeout: str) -> None:
    global _timeout
    _timeout = timeout
    if not goes_through_pooler():
        fetch("SELECT set_config('lock_timeout', %s, false)", [timeout])
