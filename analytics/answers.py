"""What the API answers about sales, for its document."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from eventbus import Contract

Seconds = Annotated[float | None, Field(description="Seconds; null where no order came so far.")]


class DayCount(Contract):
    """What happened on a day: how many orders, what their goods brought less discounts, the tax, and shipping, fees and
    roundings."""

    orders: int
    amount: Decimal
    tax: Decimal
    charges: Decimal


class SalesOfDay(Contract):
    """What happened on a day, in one currency."""

    day: date
    currency: str
    created: DayCount
    confirmed: DayCount
    rejected: DayCount
    cancelled: DayCount
    shipped: DayCount


class SalesByDayAnswer(Contract):
    """The days on which something happened, oldest first."""

    results: list[SalesOfDay]


class ProductCount(Contract):
    """How many pieces, for how much before discounts."""

    quantity: int
    amount: Decimal


class SalesOfProduct(Contract):
    """What happened to a product, in one currency."""

    product_id: str
    product_name: str
    currency: str
    created: ProductCount
    confirmed: ProductCount
    rejected: ProductCount
    cancelled: ProductCount
    shipped: ProductCount


class SalesByProductAnswer(Contract):
    """The products, by confirmed amount."""

    results: list[SalesOfProduct]


class CustomerOrderAnswer(Contract):
    """An order in its customer's history."""

    order_id: UUID
    status: str
    status_at: datetime
    created_at: datetime
    pieces: int
    total_amount: Decimal
    currency: str


class CustomerOrderList(Contract):
    """A part of a customer's history, newest first."""

    results: list[CustomerOrderAnswer]
    next: str | None
    previous: str | None


class Stage(Contract):
    """How long this part of the way took, for how many orders: what 50, 90, 95 and 99 per cent of them took at most."""

    orders: int
    p50: Seconds
    p90: Seconds
    p95: Seconds
    p99: Seconds


_STAGE: Any = {"orders": 120, "p50": 0.041, "p90": 0.062, "p95": 0.08, "p99": 0.31}
_FULFILMENT: Any = {
    "from": "2026-11-01",
    "to": "2026-11-30",
    "orders": 124,
    "createdToConfirmed": _STAGE,
    "confirmedToShipped": _STAGE,
    "createdToShipped": _STAGE,
}


class FulfilmentAnswer(Contract):
    """How long orders took that were created in these days."""

    model_config = ConfigDict(json_schema_extra={"examples": [_FULFILMENT]})

    first: Annotated[date, Field(alias="from")]
    last: Annotated[date, Field(alias="to")]
    orders: int
    created_to_confirmed: Stage
    confirmed_to_shipped: Stage
    created_to_shipped: Stage
