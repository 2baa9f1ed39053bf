"""What orders reacts to: inventory's answer."""

from collections.abc import Sequence

from eventbus.declarations import consumer
from inventory.events import InventoryReservationFailed, InventoryReserved
from orders import services
from orders.events import Shortage
from orders.services import Refusal


@consumer("orders.confirm", on=[InventoryReserved], takes_list=True)
def confirm(events: Sequence[InventoryReserved]) -> None:
    """Everything is set aside."""
    services.confirm_orders({event.order_id: event for event in events})


@consumer("orders.reject", on=[InventoryReservationFailed], takes_list=True)
def reject(events: Sequence[InventoryReservationFailed]) -> None:
    """There was too little of something."""
    services.reject_orders({event.order_id: as_refusal(event) for event in events})


def as_refusal(event: InventoryReservationFailed) -> Refusal:
    shortages = tuple(
        Shortage(product_id=short.product_id, requested=short.requested, available=short.available)
        for short in event.shortages
    )
    return Refusal(event.reason, shortages, caused_by=event)
