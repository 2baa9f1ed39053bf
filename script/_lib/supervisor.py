"""Keeps a process running: starts it again when it ends. Standard library only."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

from script._lib.process import Process

FIRST_PAUSE = 0.5
# Short enough that nothing waits long for a process that gave up while a server was away.
LONGEST_PAUSE = 10.0


class Supervisor(threading.Thread):
    """Runs a process until `stopping` is set."""

    def __init__(self, process: Process, *, say: Callable[[str], object], stopping: threading.Event) -> None:
        super().__init__(name=process.name, daemon=True)
        self.process, self.say, self.stopping = process, say, stopping
        # Held during a start, so that none comes after a signal that was to be the last.
        self._starting = threading.Lock()

    def run(self) -> None:
        pause = FIRST_PAUSE
        while self._start():
            began = time.monotonic()
            code = self.process.wait()
            if self.stopping.is_set():
                return
            if time.monotonic() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            self.say(f"ended with code {code}, starts again in {pause:g} s")
            self.stopping.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _start(self) -> bool:
        with self._starting:
            if self.stopping.is_set():
                return False
            self.process.start()
            return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process (SIGKILL: to its children too); nothing if it has ended."""
        with self._starting:
            self.process.signal(number)
