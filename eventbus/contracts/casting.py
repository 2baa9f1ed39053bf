"""From one major version of a contract to another: how old events are read by new code, and new ones by old.

    @upcast(OrderCreatedOne, OrderCreated)
    def split_customer(old: OrderCreatedOne) -> OrderCreated: ...

An upcaster loses nothing. A downcaster leaves out what the older version can't say, and so what it makes is never made
into a newer one again: who wants that reads the archive.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

from eventbus.contracts.event import Event
from eventbus.contracts.registry import CONTRACTS
from eventbus.contracts.versions import major

A = TypeVar("A", bound=Event)
B = TypeVar("B", bound=Event)

#: What makes one version of another, by the event type and the two major versions.
CASTS: dict[tuple[str, str, str], Callable[[Any], Event]] = {}


def upcast(old: type[A], new: type[B]) -> Callable[[Callable[[A], B]], Callable[[A], B]]:
    """Declare how an event of a contract becomes one of its next major version. Raises TypeError on nonsense."""
    if _number(new) <= _number(old):
        raise TypeError(f"upcast({old.__name__}, {new.__name__}): {new.version} is not newer than {old.version}.")
    return _declare(old, new)


def downcast(new: type[A], old: type[B]) -> Callable[[Callable[[A], B]], Callable[[A], B]]:
    """Declare how an event is told to those who know the major version before only. Raises TypeError on nonsense."""
    if _number(new) <= _number(old):
        raise TypeError(f"downcast({new.__name__}, {old.__name__}): {old.version} is not older than {new.version}.")
    return _declare(new, old)


def majors(event_type: str) -> list[str]:
    """The major versions of a contract, the oldest first."""
    return sorted((number for kind, number in CONTRACTS if kind == event_type), key=int)


def steps(event_type: str, source: str, target: str) -> list[tuple[str, str]]:
    """The steps from a major version to another, each to the neighbour; none where they are the same."""
    known = majors(event_type)
    first, last = known.index(source), known.index(target)
    way = known[first : last + 1] if first <= last else known[last : first + 1][::-1]
    return list(pairwise(way))


def can_cast(event_type: str, source: str, target: str) -> bool:
    """Whether an event of this major version can be read as one of that."""
    return all((event_type, *step) in CASTS for step in steps(event_type, source, target))


def _declare(source: type[A], target: type[B]) -> Callable[[Callable[[A], B]], Callable[[A], B]]:
    if (source.type, source.aggregate_type) != (target.type, target.aggregate_type):
        raise TypeError(f"{source.__name__} and {target.__name__} are not versions of one contract.")
    key = source.type, major(source.version), major(target.version)

    def declare(cast: Callable[[A], B]) -> Callable[[A], B]:
        if CASTS.setdefault(key, cast) is not cast:
            raise TypeError(f"How {source.type} {key[1]} becomes {key[2]} is declared twice.")
        return cast

    return declare


def _number(contract: type[Event]) -> int:
    return int(major(contract.version))
