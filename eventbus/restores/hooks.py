"""What apps say about a restore: which facts they can take back, what they know to be outside, what they hold back.

Declared like consumers, and found with them: `take_back` and `after_restore` in an app's consumers.py, `evidence` in
its invariants.py.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

from eventbus.contracts.event import Event

E = TypeVar("E", bound=Event)
TakeBack = Callable[[E], None]
Hold = Callable[[], object]
Unknown = Callable[[Collection[str]], Collection[str]]

TAKERS: dict[type[Event], TakeBack[Any]] = {}
HOLDS: list[Hold] = []


@dataclass(frozen=True)
class Evidence:
    """What log lines prove to have happened. `pattern` has one group; `unknown` returns what the database lacks."""

    what: str
    pattern: re.Pattern[str]
    unknown: Unknown


EVIDENCE: list[Evidence] = []


def take_back(contract: type[E]) -> Callable[[TakeBack[E]], TakeBack[E]]:
    """Declare how a forgotten event's own change is made again. The event itself is archived and sent by the bus.

    For what nobody else would do again: events of consumers are made anew. Raise PermanentFailure where it can't be.
    """

    def declare(function: TakeBack[E]) -> TakeBack[E]:
        TAKERS[contract] = function
        return function

    return declare


def after_restore(hold: Hold) -> Hold:
    """Declare what is done, in the transaction of `reconcile`, with effects outside that may have been had already."""
    HOLDS.append(hold)
    return hold


def evidence(what: str, pattern: re.Pattern[str]) -> Callable[[Unknown], Unknown]:
    """Declare what a log proves: over a function that gets what the pattern's group found in it, and returns what of
    that the database doesn't know."""

    def declare(unknown: Unknown) -> Unknown:
        EVIDENCE.append(Evidence(what, pattern, unknown))
        return unknown

    return declare
