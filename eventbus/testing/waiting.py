"""Waiting for a condition: the only way in which tests wait for what other threads and processes do."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Look again and again until the condition is true, and return what it returned. Fails when the time is up."""
    deadline, pause = monotonic() + seconds, 0.02
    while not (found := condition()):
        assert monotonic() < deadline, f"Waited {seconds:g} s for {what}; last seen: {found!r}."
        sleep(pause)
        # Looking costs the machine that is waited for.
        pause = min(pause * 1.5, 0.25)
    return found
