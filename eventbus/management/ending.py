"""SIGTERM is obeyed always."""

import os
import signal
import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

SIGNALS = {signal.SIGTERM, signal.SIGINT}
#: Seconds for what a process has in hand. Container engines wait ten before they kill.
GRACE = 8.0


def end_when_told(stop: Callable[[], None], grace: float = GRACE) -> None:
    """From now on SIGTERM and Ctrl-C call `stop`; the process is ended by force where it still runs `grace` seconds
    later, or at a second signal. Only for processes whose work comes again when it was not finished.

    Call it in the main thread, before it starts others. Signals come to a thread of their own: a handler would run in
    the main thread, between two of its instructions, and so never while that is stuck in a library.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def wait() -> None:
        signal.sigwait(SIGNALS)
        stop()
        signal.sigtimedwait(SIGNALS, grace)
        log.critical("process.ended_by_force", after_seconds=grace)
        os._exit(1)

    threading.Thread(target=wait, name="signals", daemon=True).start()
