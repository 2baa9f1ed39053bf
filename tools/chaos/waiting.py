"""Waiting for a condition, with a deadline."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

T = TypeVar("T")


class TooLate(RuntimeError):
    """The time was up. Says what for."""


def wait_until(condition: Callable[[], T], seconds: float, what: str, *, every: float = 0.1) -> T:
    """Look again and again until the condition is true; returns what it returned. Raises TooLate."""
    deadline = monotonic() + seconds
    while not (found := condition()):
        if monotonic() > deadline:
            raise TooLate(f"Waited {seconds:g} s for {what}, in vain.")
        sleep(every)
    return found
