"""Waiting for a condition: the only way in which these tests wait."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Look again and again until the condition is true, and return what it returned. Fails when the time is up."""
    deadline = monotonic() + seconds
    while not (found := condition()):
        assert monotonic() < deadline, f"Waited {seconds:g} s for {what}; last seen: {found!r}."
        sleep(0.05)
    return found
