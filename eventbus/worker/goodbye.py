"""Who ends says goodbye to the broker, and one that does not answer is not waited for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from eventbus.db.deadline import Deadline

#: Seconds for all the answers to one goodbye. Celery sets no limit to it.
GOODBYE = 3.0


@contextmanager
def of(connection: Any) -> Iterator[None]:
    """What the block asks over this connection is cut off when the time is up: then everything fails at once, and what
    was not acknowledged comes again. None: there is no connection."""
    with Deadline(GOODBYE) as deadline:
        if connection is not None and connection.connected:
            deadline.watch(connection.connection.transport.sock.fileno())
        yield
