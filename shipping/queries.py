"""Reads of shipping."""

from typing import Any

from shipping.models import Shipment


def as_data(shipment: Shipment) -> dict[str, Any]:
    """A shipment in the API's shape."""
    return {
        "orderId": shipment.order_id,
        "status": shipment.state,
        "items": shipment.items,
        "address": shipment.address,
        "carrier": shipment.carrier,
        "trackingNumber": shipment.tracking_number,
        "estimatedDelivery": shipment.estimated_delivery,
        "dispatchedAt": shipment.dispatched_at,
    }
