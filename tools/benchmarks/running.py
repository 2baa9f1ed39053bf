"""Processes that run while a benchmark measures, as the Procfile starts them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from script._lib import procfile
from script._lib.process import Process
from script._lib.waiting import wait_until
from tools.harness.readiness import is_ready


def log_of(name: str) -> Path:
    """Where a process of this name says what it says."""
    folder: Path = settings.LOCAL_DIR
    return folder / "logs" / f"bench-{name}.log"


@contextmanager
def running(name: str, command: str = "", **env: str) -> Iterator[Process]:
    """Run a command, or the process of this name in the Procfile, until the block ends."""
    process = Process(name, command or procfile.commands()[name], {**os.environ, **env}, log_of(name))
    process.start()
    try:
        yield process
    finally:
        try:
            process.stop(40)
        except TimeoutError:
            process.kill()


def wait_for(process: Process, condition: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Wait until the process has brought about this. Raises RuntimeError if it ends before that, TimeoutError."""

    def is_so() -> bool:
        if not process.is_alive:
            raise RuntimeError(f"{process.name} ended with code {process.wait()}: read {process.log}")
        return condition()

    wait_until(is_so, seconds, what)


def wait_ready(process: Process) -> None:
    """Wait until it does its work."""
    wait_for(process, lambda: is_ready(process), f"{process.name} to be ready")
