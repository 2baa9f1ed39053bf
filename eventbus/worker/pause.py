"""The pause of a projection: its consumer's runs share a lock, and a rebuild takes it alone for a moment.

A run takes it shared, before any other lock, and keeps it until its transaction ends: whoever has it alone knows that
nothing of this consumer is half done.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from eventbus.db.locks import AdvisoryLock

_KEY = f"{AdvisoryLock.PROJECTION_PAUSE}, hashtext(%s)"
#: As an expression: for statements that do it in the same round trip.
SHARE = f"pg_advisory_xact_lock_shared({_KEY})"


def wait_while_paused(consumer_name: str) -> None:
    """Share the lock until the transaction ends; waits while the consumer is paused."""
    _execute(f"SELECT {SHARE}", consumer_name)


def pause_until_commit(consumer_name: str, patience: int) -> None:
    """Pause the consumer until the transaction ends, once every run that has begun is over.

    Raises OperationalError after `patience` seconds. New runs queue behind whoever waits here: keep it short.
    """
    _wait_at_most(patience)
    _execute(f"SELECT pg_advisory_xact_lock({_KEY})", consumer_name)


@contextmanager
def paused(consumer_name: str, patience: int) -> Iterator[None]:
    """Pause the consumer for this block, over several transactions. Raises like `pause_until_commit`."""
    with transaction.atomic():
        _wait_at_most(patience)
        _execute(f"SELECT pg_advisory_lock({_KEY})", consumer_name)
    try:
        yield
    finally:
        _execute(f"SELECT pg_advisory_unlock({_KEY})", consumer_name)


def _wait_at_most(seconds: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{seconds}s"])


def _execute(statement: str, consumer_name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [consumer_name])
