"""Keeps the private servers running while `script/server` does. Standard library only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from script._lib import services
from script._lib.local import is_external
from script._lib.service import Service

LOOK_EVERY = 0.5
#: Seconds until a server that could not be started is tried again.
PAUSE = 10.0


class Keeper(threading.Thread):
    """Starts each server again when it has died, until `stopping` is set.

    One that was stopped by `script/services stop` is left alone until somebody starts it.
    """

    def __init__(
        self, servers: Iterable[Service], *, say: Callable[[str, str], object], stopping: threading.Event
    ) -> None:
        super().__init__(name="keeper", daemon=True)
        self.servers = [each for each in servers if not is_external(each.variable)]
        self.say, self.stopping = say, stopping

    def run(self) -> None:
        while not self.stopping.wait(LOOK_EVERY):
            # All at once, as at the first start: none waits for another to be ready.
            if dead := [each for each in self.servers if each.has_died()]:
                self._start(dead)

    def _start(self, dead: list[Service]) -> None:
        # Alone: what looks dead may be about to be started, or stopped, by `script/services`.
        with services.open_local():
            if self.stopping.is_set():
                return
            try:
                started = {each: each.spawn() for each in dead if each.has_died()}
                for each, pid in started.items():
                    self.say(each.name, "has died, starts again")
                    each.await_ready(pid)
                    self.say(each.name, "is back")
                return
            except SystemExit:
                pass  # its advice is on the terminal
        self.stopping.wait(PAUSE)
