"""What orders reacts to: inventory's answer, and the dispatch by shipping."""

from collections.abc import Sequence

from eventbus import consumer, take_back
from inventory.events import InventoryReservationFailed, InventoryReserved
from orders import services
from orders.events import OrderCreated, Shortage
from orders.services import Dispatch, Refusal
from shipping.events import ShipmentDispatched


@consumer("orders.confirm", on=[InventoryReserved], batched=True)
def confirm(events: Sequence[InventoryReserved]) -> None:
    """Everything is set aside."""
    services.confirm_orders({event.order_id: event for event in events})


@consumer("orders.reject", on=[InventoryReservationFailed], batched=True)
def reject(events: Sequence[InventoryReservationFailed]) -> None:
    """There was too little of something."""
    services.reject_orders({event.order_id: as_refusal(event) for event in events})


@consumer("orders.ship", on=[ShipmentDispatched], batched=True)
def ship(events: Sequence[ShipmentDispatched]) -> None:
    """The parcel has left the house."""
    services.ship_orders({event.order_id: as_dispatch(event) for event in events})


@take_back(OrderCreated)
def take_back_order(event: OrderCreated) -> None:
    """A restored database has forgotten an order that its channel was told is there."""
    services.take_back_order(event)


def as_dispatch(event: ShipmentDispatched) -> Dispatch:
    return Dispatch(event.carrier, event.tracking_number, event.estimated_delivery, caused_by=event)


def as_refusal(event: InventoryReservationFailed) -> Refusal:
    shortages = tuple(
        Shortage(product_id=short.product_id, requested=short.requested, available=short.available)
        for short in event.shortages
    )
    return Refusal(event.reason, shortages, caused_by=event)
