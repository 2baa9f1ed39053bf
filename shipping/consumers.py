"""What shipping reacts to."""

from collections.abc import Sequence

from eventbus import consumer
from inventory.events import InventoryReserved
from orders.events import OrderCancelled, OrderCreated, OrderRejected
from shipping import services
from shipping.services import ShipmentParts


@consumer("shipping.prepare", on=[OrderCreated, InventoryReserved], batched=True)
def prepare(events: Sequence[OrderCreated | InventoryReserved]) -> None:
    """Collect where a parcel goes and what is in it; whichever comes second makes it ready."""
    known: dict[str, ShipmentParts] = {}
    for event in events:
        parts = known.setdefault(event.aggregate_id, ShipmentParts(event.order_id))
        if isinstance(event, OrderCreated):
            parts.address = event.shipping_address.model_dump(by_alias=True)
        else:
            parts.items = [item.model_dump(by_alias=True) for item in event.items]
    services.prepare_shipments(list(known.values()))


@consumer("shipping.cancel", on=(OrderCancelled, OrderRejected), batched=True)
def cancel(events: Sequence[OrderCancelled | OrderRejected]) -> None:
    """Nothing of the order will be sent."""
    services.call_off({event.order_id for event in events})
