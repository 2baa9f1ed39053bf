"""What shipping announces."""

from datetime import date
from uuid import UUID

from eventbus import Event


class ShipmentDispatched(
    Event, type="shipment.dispatched", version="1.0", aggregate="order_id", aggregate_type="order"
):
    """The parcel has left the house. It belongs to the order's own stream, in which it excludes order.cancelled."""

    order_id: UUID
    carrier: str
    tracking_number: str
    estimated_delivery: date
