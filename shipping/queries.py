"""Reads of shipping."""

from typing import Any

from django.db import connection

from eventbus import invariant
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


CALLED_OFF = """
SELECT order_id, state, type FROM shipping_shipment
JOIN event ON aggregate_id = order_id::text AND type IN ('order.cancelled', 'order.rejected')
WHERE state <> 'CALLED_OFF' ORDER BY order_id LIMIT 1000
"""
# Whether an order was told of is not to be seen once its events begin to leave the archive.
UNTOLD = """
SELECT order_id FROM shipping_shipment WHERE state = 'DISPATCHED' AND NOT EXISTS (
    SELECT FROM event WHERE aggregate_id = order_id::text AND type = 'order.shipped')
  AND NOT EXISTS (SELECT FROM stream_cut WHERE aggregate_type = 'order' AND aggregate_id = order_id::text)
ORDER BY order_id LIMIT 1000
"""


@invariant("I6", "what was called off is not sent, and what was sent is shipped")
def shipments_that_disagree() -> list[str]:
    """Where a parcel is not what became of its order, in words."""
    with connection.cursor() as cursor:
        cursor.execute(CALLED_OFF)
        found = [f"shipment of order {order_id} is {state} after {last}" for order_id, state, last in cursor.fetchall()]
        cursor.execute(UNTOLD)
        return found + [f"shipment of order {order_id} left, and the order isn't shipped" for (order_id,) in cursor]
