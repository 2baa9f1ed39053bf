"""Admission: whether more may be recorded while the outbox is behind."""

import threading
from time import monotonic

from eventbus.conf import bus_settings
from eventbus.relay.lag import outbox_lag

#: Seconds for which an answer holds, while the outbox keeps up and while it doesn't.
FRESH = 1.0
PAUSE = 5


class Admission:
    """Whether more may be recorded, asked of the database once a second per process and not once per request."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._ask_again_at = 0.0
        self._retry_after: int | None = None

    def seconds_to_wait(self) -> int | None:
        """After how many seconds to ask again; None while the outbox keeps up."""
        # Whoever comes while another thread asks goes by the last answer.
        if monotonic() >= self._ask_again_at and self._asking.acquire(blocking=False):
            try:
                self._ask()
            finally:
                self._asking.release()
        return self._retry_after

    def _ask(self) -> None:
        lag = outbox_lag(count_to=bus_settings.OUTBOX_LIMIT_ROWS)
        behind = lag.rows >= bus_settings.OUTBOX_LIMIT_ROWS or lag.seconds >= bus_settings.OUTBOX_LIMIT_SECONDS
        self._retry_after = PAUSE if behind else None
        # While it is behind the rows have to be counted, which takes longer.
        self._ask_again_at = monotonic() + (PAUSE if behind else FRESH)


admission = Admission()
