"""What orders announces: its published language."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from eventbus import Contract, Day, Event, Line, Moment, Named, OnlyNumbers, Whole
from orders.currencies import COUNTRIES, SMALLEST


def _currency(code: str) -> str:
    if code not in SMALLEST:
        raise PydanticCustomError("currency", "Not an ISO 4217 currency code.")
    return code


def _country(code: str) -> str:
    if code not in COUNTRIES:
        raise PydanticCustomError("country", "Not an ISO 3166-1 alpha-2 country code.")
    return code


# What any program may send us, held to what our tables and mails can carry. Intake asks for more.
Identifier = Annotated[Line, Field(max_length=64)]
Words = Annotated[Line, Field(max_length=200)]
#: Not every country has states or postal codes.
MaybeWords = Literal[""] | Words
Email = Annotated[str, Field(max_length=254, pattern=r"^[^\s\x00-\x1f\x7f-\x9f@]+@[^\s\x00-\x1f\x7f-\x9f@]+$")]
#: Money, with as many decimals as the finest currency has.
Amount = Annotated[Decimal, Field(ge=0, lt=10**12, decimal_places=4), OnlyNumbers]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", description="An ISO 4217 code."), AfterValidator(_currency)]
Country = Annotated[str, Field(pattern="^[A-Z]{2}$", description="An ISO 3166-1 code."), AfterValidator(_country)]
Quantity = Annotated[Whole, Field(ge=1, lt=2**31)]


class Item(Contract):
    """A line of an order."""

    product_id: Identifier
    product_name: Words
    quantity: Quantity
    unit_price: Amount


class Address(Contract):
    """Where an order goes. `country` is an ISO 3166 alpha-2 code."""

    street: Words
    city: Words
    state: MaybeWords
    postal_code: MaybeWords
    country: Country


class Shortage(Contract):
    """A product that an order asked more of than there was."""

    product_id: Identifier
    requested: Annotated[Whole, Field(ge=1, lt=2**53)]
    available: Annotated[Whole, Field(ge=0, lt=2**53)]


class OrderCreated(Event, type="order.created", version="1.0", aggregate="order_id"):
    """The shop accepted an order. Carries all that a consumer needs: nobody has to call back."""

    order_id: Named
    customer_id: Identifier
    customer_email: Email
    items: Annotated[tuple[Item, ...], Field(min_length=1)]
    shipping_address: Address
    total_amount: Amount
    currency: Currency
    created_at: Moment


class OrderConfirmed(Event, type="order.confirmed", version="1.0", aggregate="order_id"):
    """Every line of the order is set aside: it will be delivered."""

    order_id: Named
    customer_id: Identifier
    customer_email: Email
    items: tuple[Item, ...]
    total_amount: Amount
    currency: Currency


class OrderRejected(Event, type="order.rejected", version="1.0", aggregate="order_id"):
    """The order will not be delivered, for this reason. `shortages` names what there was too little of."""

    order_id: Named
    customer_id: Identifier
    customer_email: Email
    items: tuple[Item, ...]
    total_amount: Amount
    currency: Currency
    reason: Words
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

    order_id: Named
    customer_id: Identifier
    customer_email: Email
    items: tuple[Item, ...]
    total_amount: Amount
    currency: Currency
    reason: Words
    cancelled_by: CancelledBy | None = None


class OrderShipped(Event, type="order.shipped", version="1.0", aggregate="order_id"):
    """The order is on its way to the customer."""

    order_id: Named
    customer_id: Identifier
    customer_email: Email
    items: tuple[Item, ...]
    total_amount: Amount
    currency: Currency
    carrier: Words
    tracking_number: Words
    estimated_delivery: Day
