"""The shop at a glance: each number leads to what it counts."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse

import analytics.queries
import inventory.queries
import notifications.queries
import orders.queries
from analytics.queries import Range
from console import access
from console.pages import page, show

#: Counted no further than this.
COUNTED = 1_000
#: Days over which the sale of a product is averaged, and products that are shown.
DAYS, SHOWN = 7, 8


@dataclass(frozen=True, slots=True)
class Sales:
    """What orders came to on a day, in one currency, and on the same day a week before."""

    currency: str
    orders: int
    amount: Any
    orders_before: int
    amount_before: Any


@page()
def home(request: HttpRequest) -> HttpResponse:
    """What happened today, and what waits for somebody. Each part for who may see it."""
    user = request.user
    context: dict[str, Any] = {"counted": COUNTED}
    if user.has_perm(access.VIEW_ORDERS):
        context |= {"sales": sales(), "overdue": orders.queries.count_overdue(limit=COUNTED)}
    if user.has_perm(access.VIEW_MAILS):
        context["stuck_mails"] = notifications.queries.count_stuck(limit=COUNTED)
    if user.has_perm(access.VIEW_STOCK):
        context["low"] = low_stock()
    context["may"] = access.allowed(
        request, orders=access.VIEW_ORDERS, parcels=access.VIEW_PARCELS, pipeline=access.VIEW_PIPELINE
    )
    return show(request, "home", **context)


def sales() -> list[Sales]:
    """Today against the same day a week before, the currency with most orders first."""
    week = Range.of_days(DAYS + 1)
    today, before = week.last, week.last - timedelta(days=DAYS)
    by_day = {(row["day"], row["currency"]): row["created"] for row in analytics.queries.sales_by_day(week)}
    nothing = {"orders": 0, "amount": 0}
    found = [
        Sales(currency, now["orders"], now["amount"], then["orders"], then["amount"])
        for currency in sorted({currency for day, currency in by_day if day in (today, before)})
        for now, then in [(by_day.get((today, currency), nothing), by_day.get((before, currency), nothing))]
    ]
    return sorted(found, key=lambda row: -row.orders)


def low_stock() -> list[dict[str, Any]]:
    """What runs out, with the days that it lasts at the pace of the last week; None where none was sold."""
    low = inventory.queries.low_stock(limit=SHOWN)
    sold = analytics.queries.sold([stock["product_id"] for stock in low], Range.of_days(DAYS)) if low else {}
    return [
        stock | {"per_day": per_day, "days": stock["available"] / per_day if per_day else None}
        for stock in low
        for per_day in [sold.get(stock["product_id"], 0) / DAYS]
    ]
