"""Waiting for a condition, with a deadline: the only way in which anything here waits. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T | None], seconds: float, what: str, *, every: float = 0.25) -> T:
    """Look again and again until the condition is true, and return what it returned.

    `every`: the longest pause between two looks, in seconds. Raises TimeoutError that says what was waited for.
    """
    deadline, pause = monotonic() + seconds, 0.02
    while not (found := condition()):
        if monotonic() > deadline:
            raise TimeoutError(f"Waited {seconds:g} s for {what}; last seen: {found!r}.")
        sleep(pause)
        # Looking costs the machine that is waited for.
        pause = min(pause * 1.5, every)
    return found


def comes_true(condition: Callable[[], object], seconds: float) -> bool:
    """Whether the condition is true before the time is up."""
    try:
        wait_until(condition, seconds, "a condition")
    except TimeoutError:
        return False
    return True
