"""What orders announces: its published language."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from eventbus import Contract, Day, Event, Line, Moment, Named, OnlyNumbers, Whole, downcast, upcast
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
#: The same, above or below zero.
SignedAmount = Annotated[Decimal, Field(gt=-(10**12), lt=10**12, decimal_places=4), OnlyNumbers]
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", description="An ISO 4217 code."), AfterValidator(_currency)]
Country = Annotated[str, Field(pattern="^[A-Z]{2}$", description="An ISO 3166-1 code."), AfterValidator(_country)]
Quantity = Annotated[Whole, Field(ge=1, lt=2**31)]


class Item(Contract):
    """A line of an order."""

    product_id: Identifier
    product_name: Words
    quantity: Quantity
    unit_price: Amount


class AdjustmentKind(StrEnum):
    """What an order's total has in it beside its items."""

    SHIPPING = "shipping"
    TAX = "tax"
    DISCOUNT = "discount"
    ROUNDING = "rounding"
    FEE = "fee"


class Adjustment(Contract):
    """What is added to the items of an order, under the name that the customer reads. A discount is never above zero;
    shipping, tax and fees never below."""

    kind: AdjustmentKind
    label: Words
    amount: SignedAmount

    @model_validator(mode="after")
    def _has_its_sign(self) -> Self:
        if self.amount > 0 and self.kind is AdjustmentKind.DISCOUNT:
            raise PydanticCustomError("discount_positive", "A discount is not above zero.")
        if self.amount < 0 and self.kind not in (AdjustmentKind.DISCOUNT, AdjustmentKind.ROUNDING):
            raise PydanticCustomError("amount_negative", "Only discounts and roundings are below zero.")
        return self


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


class Customer(Contract):
    """Who ordered, as the channel knows them, and where mails go."""

    id: Identifier
    email: Email


class OrderCreatedOne(Event, type="order.created", version="1.0", aggregate="order_id"):
    """The shop accepted an order. Carries all that a consumer needs: nobody has to call back."""

    order_id: Named
    customer_id: Identifier
    customer_email: Email
    items: Annotated[tuple[Item, ...], Field(min_length=1)]
    shipping_address: Address
    total_amount: Amount
    currency: Currency
    created_at: Moment


class OrderCreated(Event, type="order.created", version="2.0", aggregate="order_id"):
    """The shop accepted an order. Carries all that a consumer needs: nobody has to call back.

    The total is the items and the adjustments. Of an order whose event was 1.0 the adjustments are not known.
    """

    order_id: Named
    customer: Customer
    items: Annotated[tuple[Item, ...], Field(min_length=1)]
    adjustments: tuple[Adjustment, ...] = ()
    shipping_address: Address
    total_amount: Amount
    currency: Currency
    created_at: Moment


@upcast(OrderCreatedOne, OrderCreated)
def with_a_customer(old: OrderCreatedOne) -> OrderCreated:
    """Nothing is lost."""
    return OrderCreated(
        order_id=old.order_id,
        customer=Customer(id=old.customer_id, email=old.customer_email),
        items=old.items,
        shipping_address=old.shipping_address,
        total_amount=old.total_amount,
        currency=old.currency,
        created_at=old.created_at,
    )


@downcast(OrderCreated, OrderCreatedOne)
def without_adjustments(new: OrderCreated) -> OrderCreatedOne:
    """The total stays what the customer pays; what it has in it beside the items, 1.0 can't say."""
    return OrderCreatedOne(
        order_id=new.order_id,
        customer_id=new.customer.id,
        customer_email=new.customer.email,
        items=new.items,
        shipping_address=new.shipping_address,
        total_amount=new.total_amount,
        currency=new.currency,
        created_at=new.created_at,
    )


class OrderConfirmed(Event, type="order.confirmed", version="1.1", aggregate="order_id"):
    """Every line of the order is set aside: it will be delivered."""

    order_id: Named
    customer_id: Identifier
    customer_email: Email
    items: tuple[Item, ...]
    adjustments: tuple[Adjustment, ...] = ()
    total_amount: Amount
    currency: Currency


class OrderRejected(Event, type="order.rejected", version="1.1", aggregate="order_id"):
    """The order will not be delivered, for this reason. `shortages` names what there was too little of."""

    order_id: Named
    customer_id: Identifier
    customer_email: Email
    items: tuple[Item, ...]
    adjustments: tuple[Adjustment, ...] = ()
    total_amount: Amount
    currency: Currency
    reason: Words
    shortages: tuple[Shortage, ...] = ()


class CancelledBy(StrEnum):
    """Who called an order off: the customer, by the channel that took the order; staff; or nobody, as time ran out."""

    CUSTOMER = "customer"
    STAFF = "staff"
    DEADLINE = "deadline"


class OrderCancelled(Event, type="order.cancelled", version="1.1", aggregate="order_id"):
    """The order was called off before it left the house: whatever is set aside for it is free again.

    `cancelled_by` is None in what was published before this was noted.
    """

    order_id: Named
    customer_id: Identifier
    customer_email: Email
    items: tuple[Item, ...]
    adjustments: tuple[Adjustment, ...] = ()
    total_amount: Amount
    currency: Currency
    reason: Words
    cancelled_by: CancelledBy | None = None


class OrderShipped(Event, type="order.shipped", version="1.1", aggregate="order_id"):
    """The order is on its way to the customer."""

    order_id: Named
    customer_id: Identifier
    customer_email: Email
    items: tuple[Item, ...]
    adjustments: tuple[Adjustment, ...] = ()
    total_amount: Amount
    currency: Currency
    carrier: Words
    tracking_number: Words
    estimated_delivery: Day


class OrderStatusChanged(Event, type="order.status_changed", version="1.0", aggregate="order_id"):
    """The order has another status than before. Thin: it says which order, and whoever wants to know more asks.

    Recorded with each of the events above that change one, in the same transaction and after it. A newly placed order
    has changed nothing yet.
    """

    order_id: Named
