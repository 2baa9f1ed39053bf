"""The stock: how much there is of each product, how fast it goes, and how long it lasts."""

from typing import Any

from django import forms
from django.contrib.admin.utils import quote
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

import analytics.queries
import inventory.queries
from analytics.queries import Range
from console import access
from console.pages import page, show

SHOWN = 50
#: Days over which the sale of a product is averaged.
DAYS = 7


class StockFilter(forms.Form):
    """Which products: by the beginning of their ids; and from where on."""

    product = forms.CharField(max_length=64, required=False)
    after = forms.CharField(max_length=64, required=False)


@page(access.VIEW_STOCK)
def stock(request: HttpRequest) -> HttpResponse:
    """Products by id, with their levels."""
    form = StockFilter(request.GET)
    rows: list[dict[str, Any]] = []
    following = None
    if form.is_valid():
        wanted = form.cleaned_data
        found = inventory.queries.levels(wanted["product"], after=wanted["after"], limit=SHOWN + 1)
        sold = analytics.queries.sold([row["product_id"] for row in found], Range.of_days(DAYS)) if found else {}
        rows = [_row(row, sold.get(row["product_id"], 0) / DAYS) for row in found[:SHOWN]]
        following = rows[-1]["product_id"] if len(found) > SHOWN else None
    return show(request, "stock", form=form, rows=rows, following=following, days=DAYS)


def _row(found: dict[str, Any], per_day: float) -> dict[str, Any]:
    on_hand = found["available"] + found["reserved"]
    return found | {
        "per_day": per_day,
        "days": found["available"] / per_day if per_day else None,
        "is_low": found["available"] < found["low_threshold"],
        "share": round(found["available"] / on_hand * 100, 1) if on_hand else 0,
        "address": reverse("admin:inventory_stock_change", args=[quote(found["product_id"])]),
    }
