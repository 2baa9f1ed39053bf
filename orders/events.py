"""What orders announces: its published language."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from eventbus import Contract, Event


class Item(Contract):
    """A line of an order."""

    product_id: str
    product_name: str
    quantity: Annotated[int, Field(ge=1, lt=2**31)]
    unit_price: Decimal


class Address(Contract):
    """Where an order goes. `country` is an ISO 3166 alpha-2 code."""

    street: str
    city: str
    state: str
    postal_code: str
    country: str


class Shortage(Contract):
    """A product that an order asked more of than there was."""

    product_id: str
    requested: int
    available: int


class OrderCreated(Event, type="order.created", version="1.0", aggregate="order_id"):
    """The shop accepted an order. Carries all that a consumer needs: nobody has to call back."""

    order_id: UUID
    customer_id: str
    customer_email: str
    items: Annotated[tuple[Item, ...], Field(min_length=1)]
    shipping_address: Address
    total_amount: Decimal
    currency: str
    created_at: datetime


class OrderConfirmed(Event, type="order.confirmed", version="1.0", aggregate="order_id"):
    """Every line of the order is set aside: it will be delivered."""

    order_id: UUID
    customer_id: str
    customer_email: str
    items: tuple[Item, ...]
    total_amount: Decimal
    currency: str


class OrderRejected(Event, type="order.rejected", version="1.0", aggregate="order_id"):
    """The order will not be delivered, for this reason. `shortages` names what there was too little of."""

    order_id: UUID
    customer_id: str
    customer_email: str
    items: tuple[Item, ...]
    total_amount: Decimal
    currency: str
    reason: str
    shortages: tuple[Shortage, ...] = ()


class CancelledBy(StrEnum):
    """Who called an order off: the customer, by the channel that took the order; staff; or nobody, as time ran out."""

    CUSTOMER = "customer"
    STAFF = "staff"
    DEADLINE = "deadline"


class OrderCancelled(Event, type="order.cancelled", version="1.0", aggregate="order_id"):
    """The order was called off before it left the house: whatever is set aside for it is free again.

    `cancelled_by` is None in what was published before this was noted.
    """

    order_id: UUID
    customer_id: str
    customer_email: str
    items: tuple[Item, ...]
    total_amount: Decimal
    currency: str
    reason: str
    cancelled_by: CancelledBy | None = None


class OrderShipped(Event, type="order.shipped", version="1.0", aggregate="order_id"):
    """The order is on its way to the customer."""

    order_id: UUID
    customer_id: str
    customer_email: str
    items: tuple[Item, ...]
    total_amount: Decimal
    currency: str
    carrier: str
    tracking_number: str
    estimated_delivery: date
