"""What shipping announces."""

from typing import Annotated

from pydantic import Field

from eventbus import Day, Event, Line, Named

Words = Annotated[Line, Field(max_length=200)]


class ShipmentDispatched(
    Event, type="shipment.dispatched", version="1.0", aggregate="order_id", aggregate_type="order"
):
    """The parcel has left the house. It belongs to the order's own stream, in which it excludes order.cancelled."""

    order_id: Named
    carrier: Words
    tracking_number: Words
    estimated_delivery: Day
