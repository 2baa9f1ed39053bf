"""Whether the books balance, and are what the orders and their own history say."""

from django.db import connection

from eventbus import invariant
from eventbus.archive import archived, cut_streams
from inventory.events import StockReceived
from inventory.history import CHANGES, EVENTS
from orders.events import OrderCancelled, OrderShipped

# A full join: a reservation of a product that has no stock row is as wrong as a wrong sum.
UNBALANCED = """
SELECT product_id, coalesce(received, 0), coalesce(available, 0), coalesce(reserved, 0), coalesce(shipped, 0),
       coalesce(open_quantity, 0), coalesce(gone_quantity, 0)
FROM inventory_stock
FULL JOIN (
    SELECT product_id, sum(quantity) FILTER (WHERE state = 'RESERVED')::bigint AS open_quantity,
           sum(quantity) FILTER (WHERE state = 'SHIPPED')::bigint AS gone_quantity
    FROM inventory_reservation WHERE state IN ('RESERVED', 'SHIPPED') GROUP BY 1
) AS noted USING (product_id)
WHERE received IS DISTINCT FROM available + reserved + shipped
   OR least(available, reserved, shipped) < 0
   OR coalesce(reserved, 0) <> coalesce(open_quantity, 0)
   OR coalesce(shipped, 0) <> coalesce(gone_quantity, 0)
ORDER BY product_id LIMIT 1000
"""
UNBALANCED_STOCK = "%s: received %s, available %s, reserved %s, shipped %s; open reservations: %s, shipped ones: %s"
# Both are the order's last word, so what inventory has of it must agree with it once the events have arrived.
DISAGREEING = f"""
SELECT order_id, array_agg(DISTINCT state), type
FROM inventory_reservation JOIN {archived(OrderCancelled, OrderShipped)} AS ended ON aggregate_id = order_id::text
WHERE CASE type WHEN '{OrderShipped.type}' THEN state <> 'SHIPPED' ELSE state IN ('RESERVED', 'SHIPPED') END
GROUP BY order_id, type ORDER BY order_id LIMIT 1000
"""
# In one pass. A product's history begins at its first event, or, where that is not archived any more, at the snapshot
# right before the first that is.
_RETOLD = f"""
WITH told AS MATERIALIZED (
    SELECT aggregate_id AS product_id, told.sequence, {CHANGES}
    FROM {EVENTS} AS told LEFT JOIN {cut_streams(StockReceived)} AS cut USING (aggregate_id)
    WHERE told.sequence > coalesce(cut.sequence, 0)
), bounds AS (
    SELECT product_id, min(sequence) AS first FROM told GROUP BY 1
), start AS (
    SELECT product_id, first, 0::bigint AS available, 0::bigint AS reserved, 0::bigint AS shipped
    FROM bounds WHERE first = 1
    UNION ALL
    SELECT product_id, first, available, reserved, shipped
    FROM bounds JOIN inventory_stocksnapshot USING (product_id) WHERE sequence = first - 1
    UNION ALL (
        SELECT DISTINCT ON (product_id) product_id, sequence + 1, available, reserved, shipped
        FROM inventory_stocksnapshot AS kept WHERE NOT EXISTS (SELECT FROM bounds WHERE product_id = kept.product_id)
        ORDER BY product_id, sequence DESC)
), retold AS (
    SELECT product_id, first - 1 AS sequence, available, reserved, shipped FROM start
    UNION ALL
    SELECT product_id, sequence, start.available + sum(told.available) OVER place,
           start.reserved + sum(told.reserved) OVER place, start.shipped + sum(told.shipped) OVER place
    FROM start JOIN told USING (product_id)
    WINDOW place AS (PARTITION BY product_id ORDER BY sequence)
), newest AS (
    SELECT DISTINCT ON (product_id) * FROM retold ORDER BY product_id, sequence DESC
), compared AS (
    SELECT product_id, 'stock' AS kept_as, kept.available, kept.reserved, kept.shipped,
           newest.available AS told_available, newest.reserved AS told_reserved, newest.shipped AS told_shipped
    FROM inventory_stock AS kept FULL JOIN newest USING (product_id)
    UNION ALL
    SELECT product_id, 'snapshot ' || sequence, kept.available, kept.reserved, kept.shipped,
           retold.available, retold.reserved, retold.shipped
    FROM inventory_stocksnapshot AS kept JOIN retold USING (product_id, sequence)
)
SELECT * FROM compared
WHERE (coalesce(available, 0), coalesce(reserved, 0), coalesce(shipped, 0))
   <> (coalesce(told_available, 0), coalesce(told_reserved, 0), coalesce(told_shipped, 0))
ORDER BY 1, 2 LIMIT 1000
"""
UNTRUE_TO_HISTORY = "%s, %s: available %s, reserved %s, shipped %s; its history says %s, %s, %s"


@invariant(
    "I2",
    "per product: received = available + reserved + shipped, none below zero, and each is what the reservations say",
)
def unbalanced_stock() -> list[str]:
    """Where stock doesn't add up, in words."""
    with connection.cursor() as cursor:
        cursor.execute(UNBALANCED)
        return [UNBALANCED_STOCK % row for row in cursor.fetchall()]


@invariant("I2", "a cancelled order has nothing set aside, a shipped one is written off")
def reservations_that_disagree() -> list[str]:
    """Where a reservation is not what became of its order, in words."""
    with connection.cursor() as cursor:
        cursor.execute(DISAGREEING)
        return [f"order {order_id}: {', '.join(states)} after {last}" for order_id, states, last in cursor.fetchall()]


@invariant("I2", "every product's stock, and each snapshot of it, is what its history says")
def stock_unlike_its_history() -> list[str]:
    """Where a stock row or a snapshot differs from what all of the product's events add up to, in words."""
    with connection.cursor() as cursor:
        cursor.execute(_RETOLD)
        return [UNTRUE_TO_HISTORY % row for row in cursor.fetchall()]
