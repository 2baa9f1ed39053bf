"""The contracts by type and version. Whoever subclasses Event puts its class in here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus.errors import InvalidEvent, Reason

if TYPE_CHECKING:
    from eventbus.contracts.event import Event

#: Every declared contract by its type and version.
CONTRACTS: dict[tuple[str, str], type[Event]] = {}


def register(contract: type[Event]) -> None:
    """Make a contract known. Raises TypeError where another one has its type and version."""
    taken = CONTRACTS.setdefault((contract.type, contract.version), contract)
    if taken is not contract:
        raise TypeError(
            f"{contract.type} {contract.version} is declared twice: {taken.__qualname__} has it. Raise the version."
        )


def contract_of(event_type: str, version: str) -> type[Event]:
    """The class of a published contract. Raises InvalidEvent where there is none."""
    contract = CONTRACTS.get((event_type, version))
    if contract is not None:
        return contract
    versions = sorted(known for kind, known in CONTRACTS if kind == event_type)
    if not versions:
        raise InvalidEvent(Reason.UNKNOWN_TYPE, f"No contract is called {event_type!r}.")
    raise InvalidEvent(Reason.UNKNOWN_VERSION, f"{event_type} {version!r} is unknown; known: {', '.join(versions)}.")
