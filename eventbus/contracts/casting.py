"""From one major version of a contract to another: how old events are read by new code, and new ones by old.

    @upcast(OrderCreatedOne, OrderCreated)
    def split_customer(old: OrderCreatedOne) -> OrderCreated: ...

An upcaster loses nothing. A downcaster leaves out what the older version can't say, and so what it makes is never made
into a newer one again: who wants that reads the archive.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

from pydantic import ValidationError

from eventbus.contracts.event import Event
from eventbus.contracts.exact_json import decode_archived_json
from eventbus.contracts.registry import CONTRACTS
from eventbus.contracts.versions import major, routing_key
from eventbus.errors import InvalidEvent, Reason

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
    if source == target:
        return []  # as nearly always
    known = sorted({*majors(event_type), source, target}, key=int)
    first, last = known.index(source), known.index(target)
    way = known[first : last + 1] if first <= last else known[last : first + 1][::-1]
    return list(pairwise(way))


def can_cast(event_type: str, source: str, target: str) -> bool:
    """Whether an event of this major version can be read as one of that."""
    return all((event_type, *step) in CASTS for step in steps(event_type, source, target))


def is_older(event: Event, than: type[Event]) -> bool:
    """Whether the event is of a lower major version of the contract."""
    return _number(type(event)) < _number(than)


def cast(event: Event, to: type[B]) -> B:
    """The event as one of that contract's major version.

    Made newer it keeps the envelope that it came with. Made older it gets that of the message which those who know no
    better are sent. Raises InvalidEvent where it can't be made.
    """
    source, target = major(event.version), major(to.version)
    # A major version has one class.
    made: Any = event
    for step in steps(event.type, source, target):
        made = _step(made, *step)
    if made is not event:
        made._envelope = event._envelope
        if event._envelope is not None and int(target) < int(source):
            changed = {"version": made.version, "data": decode_archived_json(made.data())}
            made._envelope = event._envelope.model_copy(update=changed)
    converted: B = made
    return converted


def _step(event: Event, source: str, target: str) -> Event:
    function = CASTS.get((event.type, source, target))
    if function is None:
        raise InvalidEvent(Reason.UNKNOWN_VERSION, f"Nothing makes {event.type} {source} a {target}.")
    try:
        return function(event)
    except ValidationError as error:
        # Where and not what: values may be personal data.
        where = "; ".join(".".join(map(str, found["loc"])) for found in error.errors(include_input=False))
        detail = f"{event.type} {source} makes no valid {target}: {where}"
        raise InvalidEvent(Reason.INVALID_DATA, detail) from error


def keys_upwards(contract: type[Event]) -> list[str]:
    """The routing keys of what can be read as this contract without a loss: its own, then those of older versions."""
    return [contract.routing_key(), *_keys_of(contract, newer=False)]


def keys_downwards(contract: type[Event]) -> list[str]:
    """The routing keys of newer versions that can be told as this contract."""
    return _keys_of(contract, newer=True)


def older_versions(event_type: str, version: str) -> list[type[Event]]:
    """The contracts of older major versions as which such an event can be told."""
    return [
        CONTRACTS[event_type, number]
        for number in majors(event_type)
        if int(number) < int(major(version)) and can_cast(event_type, major(version), number)
    ]


def _keys_of(contract: type[Event], *, newer: bool) -> list[str]:
    own = _number(contract)
    others = [each for each in majors(contract.type) if int(each) != own and (int(each) > own) is newer]
    return [
        routing_key(contract.type, CONTRACTS[contract.type, each].version)
        for each in others
        if can_cast(contract.type, each, str(own))
    ]


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
