"""The contracts by type and version."""

from eventbus.contracts.event import Event
from eventbus.errors import InvalidEvent


def contract_of(event_type: str, version: str) -> type[Event]:
    """The class of a published contract. Raises InvalidEvent where there is none."""
    contract = Event.registry.get((event_type, version))
    if contract is not None:
        return contract
    versions = sorted(known for kind, known in Event.registry if kind == event_type)
    if not versions:
        raise InvalidEvent("unknown_type", f"No contract is called {event_type!r}.")
    raise InvalidEvent("unknown_version", f"{event_type} {version!r} is unknown; known: {', '.join(versions)}.")
