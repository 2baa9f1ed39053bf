"""Reads of inventory."""

from dataclasses import dataclass
from typing import Any

from django.db import connection

from eventbus import invariant
from inventory.models import Stock

_STOCK_NOW = """
SELECT product_id, product_name, available, reserved, shipped, coalesce(sequence, 0)
FROM inventory_stock LEFT JOIN stream ON aggregate_type = 'product' AND aggregate_id = product_id
WHERE product_id = %s
"""
PUBLIC_FIELDS = ("product_id", "product_name", "available", "reserved", "shipped")

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
DESCRIPTION = "%s: received %s, available %s, reserved %s, shipped %s; open reservations: %s, shipped ones: %s"
# Both are the order's last word, so what inventory has of it must agree with it once the events have arrived.
DISAGREEING = """
SELECT order_id, array_agg(DISTINCT state), type
FROM inventory_reservation JOIN event ON aggregate_id = order_id::text AND type IN ('order.cancelled', 'order.shipped')
WHERE CASE type WHEN 'order.shipped' THEN state <> 'SHIPPED' ELSE state IN ('RESERVED', 'SHIPPED') END
GROUP BY order_id, type ORDER BY order_id LIMIT 1000
"""


@dataclass(frozen=True, slots=True)
class StockPage:
    """A part of the list, and the ids to go on from in both directions; None where there is nothing further."""

    rows: list[dict[str, Any]]
    previous_before: str | None
    next_after: str | None


def stock_page(*, limit: int, after: str | None = None, before: str | None = None) -> StockPage:
    """At most `limit` products by id: the first ones, those after an id, or the last ones before an id."""
    stock = Stock.objects.values(*PUBLIC_FIELDS)
    if before is not None:
        found = list(stock.filter(product_id__lt=before).order_by("-product_id")[: limit + 1])
        rows = found[:limit][::-1]
        return _page(rows, has_previous=len(found) > limit, has_next=True)
    found = list(stock.filter(product_id__gt=after or "").order_by("product_id")[: limit + 1])
    return _page(found[:limit], has_previous=after is not None, has_next=len(found) > limit)


def _page(rows: list[dict[str, Any]], *, has_previous: bool, has_next: bool) -> StockPage:
    return StockPage(
        rows,
        previous_before=rows[0]["product_id"] if rows and has_previous else None,
        next_after=rows[-1]["product_id"] if rows and has_next else None,
    )


def stock_of(product_id: str) -> dict[str, Any] | None:
    """What channels may see of a product's stock; None for a product that was never received."""
    found: dict[str, Any] | None = Stock.objects.values(*PUBLIC_FIELDS).filter(product_id=product_id).first()
    return found


def stock_now(product_id: str) -> tuple[dict[str, Any], int] | None:
    """What channels may see of a product's stock, and the number of its last event; None as stock_of."""
    with connection.cursor() as cursor:
        cursor.execute(_STOCK_NOW, [product_id])
        row = cursor.fetchone()
    return (dict(zip(PUBLIC_FIELDS, row, strict=False)), row[-1]) if row else None


def public(stock: Stock) -> dict[str, Any]:
    """What channels may see of this stock."""
    return {name: getattr(stock, name) for name in PUBLIC_FIELDS}


@invariant(
    "I2",
    "per product: received = available + reserved + shipped, none below zero, and each is what the reservations say",
)
def unbalanced_stock() -> list[str]:
    """Where stock doesn't add up, in words."""
    with connection.cursor() as cursor:
        cursor.execute(UNBALANCED)
        return [DESCRIPTION % row for row in cursor.fetchall()]


@invariant("I2", "a cancelled order has nothing set aside, a shipped one is written off")
def reservations_that_disagree() -> list[str]:
    """Where a reservation is not what became of its order, in words."""
    with connection.cursor() as cursor:
        cursor.execute(DISAGREEING)
        return [f"order {order_id}: {', '.join(states)} after {last}" for order_id, states, last in cursor.fetchall()]
