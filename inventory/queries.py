"""Reads of inventory."""

from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import F

from eventbus.archive import stream_ends
from inventory.events import StockReceived
from inventory.models import Stock

_STOCK_NOW = f"""
SELECT product_id, product_name, available, reserved, shipped, coalesce(sequence, 0)
FROM inventory_stock LEFT JOIN {stream_ends(StockReceived)} AS stream ON aggregate_id = product_id
WHERE product_id = %s
"""
PUBLIC_FIELDS = ("product_id", "product_name", "available", "reserved", "shipped")


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


def low_stock(*, limit: int) -> list[dict[str, Any]]:
    """Products of which less is left than their threshold, what is scarcest first."""
    low = Stock.objects.filter(available__lt=F("low_threshold")).order_by("available", "product_id")
    return list(low.values(*PUBLIC_FIELDS, "low_threshold")[:limit])


def levels(begin: str = "", *, after: str = "", limit: int) -> list[dict[str, Any]]:
    """Products whose ids begin like this, by id, those after one: what there is of each, and its threshold."""
    found = Stock.objects.filter(product_id__startswith=begin, product_id__gt=after).order_by("product_id")
    return list(found.values(*PUBLIC_FIELDS, "low_threshold")[:limit])


def find(text: str, *, limit: int) -> list[dict[str, Any]]:
    """The products that this may mean: by id, or the beginning of an id."""
    return list(Stock.objects.filter(product_id__startswith=text).order_by("product_id").values(*PUBLIC_FIELDS)[:limit])


def public(stock: Stock) -> dict[str, Any]:
    """What channels may see of this stock."""
    return {name: getattr(stock, name) for name in PUBLIC_FIELDS}
