"""Admission: whether more may be recorded while the outbox is behind."""

import threading
from time import monotonic

from eventbus.conf import bus_settings
from eventbus.relay.lag import outbox_lag

#: Seconds between two looks of a process, while it keeps up and while it doesn't.
LOOK = 1.0

PAUSE = 5


class Admission:
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
        lag = outbox_lag(count_to=bus_settings.OUTBOX_LIMIT_ROWS)
        behind = lag.rows >= bus_settings.OUTBOX_LIMIT_ROWS or lag.seconds >= bus_settings.OUTBOX_LIMIT_SECONDS
        self._retry_after = PAUSE if behind else None
        # While it is behind the rows have to be counted, which takes longer.
        self._next_look = monotonic() + (PAUSE if behind else LOOK)


admission = Admission()
