"""Whether the books are what their history says."""

from typing import Any

from django.db import connection

from eventbus import invariant
from inventory.history import CHANGES, OPENED

# In one pass. A product's history begins at its opening, or at its first event, or, where that is no longer archived,
# at the snapshot right before the first that is.
_RETOLD = f"""
WITH told AS MATERIALIZED (
    SELECT aggregate_id AS product_id, sequence, type, {CHANGES}
    FROM event WHERE aggregate_type = 'product'
), bounds AS (
    SELECT product_id, min(sequence) AS first, max(sequence) FILTER (WHERE type = '{OPENED}') AS opened
    FROM told GROUP BY 1
), start AS (
    SELECT product_id, coalesce(opened, first) AS first, 0::bigint AS available, 0::bigint AS reserved,
           0::bigint AS shipped
    FROM bounds WHERE first = 1 OR opened IS NOT NULL
    UNION ALL
    SELECT product_id, first, available, reserved, shipped
    FROM bounds JOIN inventory_stocksnapshot USING (product_id) WHERE opened IS NULL AND sequence = first - 1
    UNION ALL (
        SELECT DISTINCT ON (product_id) product_id, sequence + 1, available, reserved, shipped
        FROM inventory_stocksnapshot AS kept WHERE NOT EXISTS (SELECT FROM bounds WHERE product_id = kept.product_id)
        ORDER BY product_id, sequence DESC)
), retold AS (
    SELECT product_id, first - 1 AS sequence, available, reserved, shipped FROM start
    UNION ALL
    SELECT product_id, sequence, start.available + sum(told.available) OVER place,
           start.reserved + sum(told.reserved) OVER place, start.shipped + sum(told.shipped) OVER place
    FROM start JOIN told USING (product_id) WHERE sequence >= first
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
DESCRIPTION = "%s, %s: available %s, reserved %s, shipped %s; its history says %s, %s, %s"


def unlike_their_history() -> list[str]:
    """The first thousand products whose stock or snapshots differ from what their events add up to."""
    return sorted({product_id for product_id, *_ in _differences()})


@invariant("I2", "every product's stock, and each snapshot of it, is what its history says")
def stock_unlike_its_history() -> list[str]:
    """Where a stock row or a snapshot differs from what all of the product's events add up to, in words."""
    return [DESCRIPTION % row for row in _differences()]


def _differences() -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(_RETOLD)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found
