"""Reads of analytics, as plain data in the API's shape. Days are the shop's; both ends of a range belong to it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F, Sum

from analytics import days
from analytics.models import KINDS, CustomerOrder, SalesByDay, SalesByProduct

#: What is counted of each kind on a day.
OF_A_DAY = ("orders", "amount", "tax", "charges")
PERCENTS = (50, 90, 95, 99)
STAGES = {
    "createdToConfirmed": ("created_at", "confirmed_at"),
    "confirmedToShipped": ("confirmed_at", "shipped_at"),
    "createdToShipped": ("created_at", "shipped_at"),
}
# The newest name that the product had in the range; ties are broken by the name, as in the table itself.
TOP_PRODUCTS = f"""
SELECT product_id, (array_agg(product_name ORDER BY named_at DESC, product_name DESC))[1], currency,
       {", ".join(f"sum({kind}_quantity)::bigint, sum({kind}_amount)" for kind in KINDS)}
FROM analytics_salesbyproduct
WHERE day BETWEEN %(first)s AND %(last)s AND (%(currency)s::text IS NULL OR currency = %(currency)s)
GROUP BY product_id, currency
ORDER BY sum(confirmed_amount) DESC, currency, product_id LIMIT %(limit)s
"""
_PERCENTILES = ", ".join(
    f"percentile_cont(ARRAY[{', '.join(str(percent / 100) for percent in PERCENTS)}]::float8[]) "
    f"WITHIN GROUP (ORDER BY extract(epoch FROM {until} - {since})), count({until} - {since})"
    for since, until in STAGES.values()
)
FULFILMENT = f"""
SELECT {{of}}, count(*), {_PERCENTILES}
FROM analytics_fulfilment WHERE created_at >= %(first)s AND created_at < %(end)s GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Range:
    """From a day to a day, both included."""

    first: date
    last: date

    @classmethod
    def of_days(cls, number: int, today: date | None = None) -> "Range":
        """The last so many days, today among them."""
        last = today or days.today()
        return cls(last - timedelta(days=number - 1), last)

    @property
    def days(self) -> list[date]:
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]


def sales_by_day(asked: Range, currency: str | None = None) -> list[dict[str, Any]]:
    """What happened on each day that something happened on, oldest first."""
    rows = SalesByDay.objects.filter(day__range=(asked.first, asked.last)).order_by("day", "currency")
    if currency is not None:
        rows = rows.filter(currency=currency)
    return [
        {"day": row.day, "currency": row.currency}
        | {kind: {what: getattr(row, f"{kind}_{what}") for what in OF_A_DAY} for kind in KINDS}
        for row in rows
    ]


def sold(product_ids: Collection[str], asked: Range) -> dict[str, int]:
    """How many of each of these products orders were confirmed for in these days, in whatever currency."""
    rows = SalesByProduct.objects.filter(product_id__in=product_ids, day__range=(asked.first, asked.last))
    return dict(rows.order_by().values_list("product_id").annotate(quantity=Sum("confirmed_quantity")))


def top_products(asked: Range, currency: str | None = None, *, limit: int) -> list[dict[str, Any]]:
    """What was sold of each product, by confirmed amount. Amounts of two currencies are never added up."""
    params = {"first": asked.first, "last": asked.last, "currency": currency, "limit": limit}
    return [
        {"productId": product_id, "productName": name, "currency": code}
        | {kind: {"quantity": numbers[2 * place], "amount": numbers[2 * place + 1]} for place, kind in enumerate(KINDS)}
        for product_id, name, code, *numbers in _rows(TOP_PRODUCTS, params)
    ]


def orders_of_customer(customer_id: str, *, limit: int, before: UUID | None = None) -> list[dict[str, Any]]:
    """A customer's orders, newest first: at most `limit` of those before that one."""
    rows = CustomerOrder.objects.filter(customer_id=customer_id)
    if before is not None:
        rows = rows.filter(order_id__lt=before)
    return [
        {
            "orderId": row.order_id,
            "status": row.status,
            "statusAt": row.status_at,
            "createdAt": row.created_at,
            "pieces": row.pieces,
            "totalAmount": row.total_amount,
            "currency": row.currency,
        }
        for row in rows.order_by("-order_id")[:limit]
    ]


def fulfilment(asked: Range) -> dict[str, Any]:
    """How long the orders that were created in the range took, in seconds."""
    found = _fulfilment("NULL::date", asked)
    return found[0] if found else _stages(0, *[None, 0] * len(STAGES))


def fulfilment_by_day(asked: Range) -> dict[date, dict[str, Any]]:
    """The same for each day on which orders were created."""
    return {stages.pop("day"): stages for stages in _fulfilment("(created_at AT TIME ZONE %(zone)s)::date", asked)}


def currencies(asked: Range) -> list[str]:
    """The currencies of that range, the one with the most confirmed orders first."""
    rows = SalesByDay.objects.filter(day__range=(asked.first, asked.last))
    counts: dict[str, int] = {}
    for currency, confirmed in rows.values_list("currency", F("confirmed_orders")):
        counts[currency] = counts.get(currency, 0) + confirmed
    return sorted(counts, key=lambda currency: (-counts[currency], currency))


def _fulfilment(of: str, asked: Range) -> list[dict[str, Any]]:
    first, end = days.begin_of(asked.first), days.begin_of(asked.last + timedelta(days=1))
    rows = _rows(FULFILMENT.format(of=of), {"first": first, "end": end, "zone": str(days.zone())})
    return [({} if day is None else {"day": day}) | _stages(*numbers) for day, *numbers in rows]


def _stages(orders: int, *numbers: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"orders": orders}
    for place, stage in enumerate(STAGES):
        percentiles, count = numbers[2 * place : 2 * place + 2]
        seconds = [None] * len(PERCENTS) if percentiles is None else [round(each, 3) for each in percentiles]
        found[stage] = {"orders": count} | {f"p{p}": each for p, each in zip(PERCENTS, seconds, strict=True)}
    return found


def _rows(sql: str, params: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
