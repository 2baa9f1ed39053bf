"""Contracts and consumers for the bus's own tests. They are in the registries only while these tests run."""

from collections.abc import Sequence
from decimal import Decimal

from eventbus.contracts.event import Contract, Event
from eventbus.declaration import consumer
from eventbus.recording.publish import publish


class Line(Contract):
    """What lies in a parcel."""

    sku: str
    price: Decimal


class ParcelSent(Event, type="parcel.sent", version="1.0", aggregate="parcel_id"):
    """A parcel left the house."""

    parcel_id: str
    weight: Decimal = Decimal("1.5")
    lines: tuple[Line, ...] = ()


class ParcelTracked(Event, type="parcel.tracked", version="1.0", aggregate="parcel_id"):
    """The effect that the consumers below leave in the database."""

    parcel_id: str


class ParcelWeighed(Event, type="parcel.weighed", version="1.0", aggregate="parcel_id", internal=True):
    """Part of the parcel's own history: it is sent to nobody."""

    parcel_id: str


@consumer("parcel.track", on=[ParcelSent])
def track(event: ParcelSent) -> None:
    """Leaves one effect per event; a parcel whose id begins with `bad` fails after it."""
    publish(ParcelTracked(parcel_id=event.parcel_id))
    if event.parcel_id.startswith("bad"):
        raise ValueError(f"{event.parcel_id} can't be tracked")


@consumer("parcel.track_all", on=[ParcelSent], batched=True)
def track_all(events: Sequence[ParcelSent]) -> None:
    for event in events:
        publish(ParcelTracked(parcel_id=event.parcel_id), caused_by=event)
