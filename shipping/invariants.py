"""Whether parcels are what became of their orders."""

from django.db import connection

from eventbus import invariant
from eventbus.archive import archived, cut_streams
from orders.events import OrderCancelled, OrderRejected, OrderShipped

CALLED_OFF = f"""
SELECT order_id, state, type FROM shipping_shipment
JOIN {archived(OrderCancelled, OrderRejected)} AS called_off ON aggregate_id = order_id::text
WHERE state <> 'CALLED_OFF' ORDER BY order_id LIMIT 1000
"""
# Once an order's events begin to leave the archive, nobody can see whether it was reported as shipped.
UNTOLD = f"""
SELECT order_id FROM shipping_shipment WHERE state = 'DISPATCHED'
  AND NOT EXISTS (SELECT FROM {archived(OrderShipped)} AS told WHERE aggregate_id = order_id::text)
  AND NOT EXISTS (SELECT FROM {cut_streams(OrderShipped)} AS cut WHERE aggregate_id = order_id::text)
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
