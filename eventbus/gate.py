"""The gate of a projection: the runs of its consumer pass it together, and a rebuild closes it for a moment.

An advisory lock per consumer. A run takes it shared, before any other lock, and keeps it until its transaction ends:
who holds it alone knows that nothing of this consumer is half done.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

#: First key of the locks; the second is made of the consumer's name.
GATE = 0x0B16

PASS = f"pg_advisory_xact_lock_shared({GATE}, hashtext(%s))"
_CLOSE = f"SELECT pg_advisory_xact_lock({GATE}, hashtext(%s))"
_CLOSE_FOR_SESSION = f"SELECT pg_advisory_lock({GATE}, hashtext(%s))"
_OPEN = f"SELECT pg_advisory_unlock({GATE}, hashtext(%s))"


def pass_through(consumer_name: str) -> None:
    """Pass the gate until the transaction ends; waits while it is closed."""
    _execute(f"SELECT {PASS}", consumer_name)


def close(consumer_name: str, patience: int) -> None:
    """Close the gate until the transaction ends, once every run that has passed it is over.

    Raises OperationalError after `patience` seconds. New runs queue behind whoever waits here: keep it short.
    """
    _wait_at_most(patience)
    _execute(_CLOSE, consumer_name)


@contextmanager
def closed(consumer_name: str, patience: int) -> Iterator[None]:
    """Keep the gate closed for this block, over several transactions. Raises like `close`."""
    with transaction.atomic():
        _wait_at_most(patience)
        _execute(_CLOSE_FOR_SESSION, consumer_name)
    try:
        yield
    finally:
        _execute(_OPEN, consumer_name)


def _wait_at_most(seconds: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{seconds}s"])


def _execute(statement: str, consumer_name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [consumer_name])
