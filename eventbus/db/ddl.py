"""Changing a table's shape while traffic runs over it."""

import random
from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

from django.db import OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable

T = TypeVar("T")

#: Whoever waits for a table stops everyone who comes after: for this long at most.
LOCK_TIMEOUT = "100ms"
#: Seconds.
PATIENCE = 60.0


def without_queueing(change: Callable[[], T]) -> T:
    """Make a change that needs a table for itself, in a transaction (or savepoint), between the statements of others.

    Tries for PATIENCE seconds, then raises OperationalError; see is_busy().
    """
    deadline = monotonic() + PATIENCE
    while True:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                return change()
        except OperationalError as error:
            if not is_busy(error) or monotonic() > deadline:
                raise
        sleep(random.uniform(0.1, 1.0))


def is_busy(error: OperationalError) -> bool:
    """Whether it failed because others were using the table."""
    return isinstance(error.__cause__, LockNotAvailable)
