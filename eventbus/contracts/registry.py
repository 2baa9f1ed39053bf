"""The contracts by type and major version. Whoever subclasses Event puts its class in here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus.contracts.versions import major
from eventbus.errors import InvalidEvent, Reason

if TYPE_CHECKING:
    from eventbus.contracts.event import Event

#: The contracts by their type and major version: of several minor ones, the newest, which reads them all.
CONTRACTS: dict[tuple[str, str], type[Event]] = {}


def register(contract: type[Event]) -> None:
    """Make a contract known. Raises TypeError where another one has its type and version."""
    key = contract.type, major(contract.version)
    taken = CONTRACTS.get(key, contract)
    if taken is not contract and taken.version == contract.version:
        raise TypeError(
            f"{contract.type} {contract.version} is declared twice: {taken.__qualname__} has it. Raise the version."
        )
    CONTRACTS[key] = max(taken, contract, key=_numbers)


def contract_of(event_type: str, version: str) -> type[Event]:
    """The class that reads a published event: that of its major version, whatever the minor one.

    Raises InvalidEvent where there is none.
    """
    contract = CONTRACTS.get((event_type, major(version)))
    if contract is not None:
        return contract
    versions = sorted(known.version for (kind, _), known in CONTRACTS.items() if kind == event_type)
    if not versions:
        raise InvalidEvent(Reason.UNKNOWN_TYPE, f"No contract is called {event_type!r}.")
    raise InvalidEvent(Reason.UNKNOWN_VERSION, f"{event_type} {version!r} is unknown; known: {', '.join(versions)}.")


def _numbers(contract: type[Event]) -> tuple[int, ...]:
    return tuple(map(int, contract.version.split(".")))
