"""A time for a whole call over the network, not for each byte of it."""

import os
import socket
import threading
from types import TracebackType
from typing import Any


class Deadline:
    """Shuts the connections of a call when its whole time is up, so that what waits for them fails at once.

    The time-outs of sockets, and of the libraries on them, begin anew with each byte; and a database that is frozen
    never answers, though its machine does. Leaving the block by an error after the time is up raises TimeoutError.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.has_passed = False
        self._handles: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    def __enter__(self) -> "Deadline":
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()
        if self.has_passed and isinstance(error, Exception):
            raise TimeoutError(f"It was not done within {self.seconds:g} seconds.") from error

    def watch(self, fileno: int) -> None:
        """Shut this connection too, when the time is up; at once if it is."""
        # A second handle: whoever wraps the socket in TLS takes the first one away.
        handle = socket.socket(fileno=os.dup(fileno))
        with self._lock:
            self._handles.append(handle)
            if self.has_passed:
                shut(handle)

    def connect(self, *args: Any, **options: Any) -> socket.socket:
        """`socket.create_connection`, watched."""
        made = socket.create_connection(*args, **options)
        self.watch(made.fileno())
        return made

    def _pass(self) -> None:
        with self._lock:
            self.has_passed = True
            for handle in self._handles:
                shut(handle)


def shut(handle: socket.socket) -> None:
    try:
        handle.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the other side was faster
