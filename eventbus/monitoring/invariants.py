"""What must hold over the whole database at any time. Apps declare theirs in `invariants.py`.

`manage.py verify_pipeline` checks them all.
"""

from collections.abc import Callable
from dataclasses import dataclass

Check = Callable[[], list[str]]


@dataclass(frozen=True)
class Invariant:
    """A named promise and the function that lists where it is broken; an empty list means that it holds."""

    code: str
    promise: str
    check: Check


INVARIANTS: list[Invariant] = []


def invariant(code: str, promise: str) -> Callable[[Check], Check]:
    """Declare a check: `@invariant("I2", "stock adds up")` over a function that returns the violations."""

    def declare(check: Check) -> Check:
        INVARIANTS.append(Invariant(code, promise, check))
        return check

    return declare
