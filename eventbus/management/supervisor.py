"""Several loops in one process."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Part:
    """A loop: `run` returns some time after `stop` was called, which any thread may do."""

    name: str
    run: Callable[[], None]
    stop: Callable[[], None]


class Supervisor:
    """Runs parts side by side, each in a thread of its own. None lives without the others: where one ends, all do, and
    whoever keeps the process starts them all again."""

    def __init__(self, *parts: Part) -> None:
        self.parts = parts
        self._ending = threading.Event()
        self._ended_early: list[str] = []

    def stop(self) -> None:
        """Let every part finish what it has in hand, then return from run()."""
        self._ending.set()

    def run(self) -> list[str]:
        """Run until stopped, or until a part ends; returns the names of those that ended by themselves."""
        threads = [threading.Thread(target=self._run, args=[part], name=part.name) for part in self.parts]
        for thread in threads:
            thread.start()
        self._ending.wait()
        for part in self.parts:
            part.stop()
        for thread in threads:
            thread.join()
        return self._ended_early

    def _run(self, part: Part) -> None:
        try:
            part.run()
        except Exception as error:
            log.error("part.failed", part=part.name, exc_info=error)
        finally:
            if not self._ending.is_set():
                self._ended_early.append(part.name)
            self._ending.set()
