"""Taking an order in: check it, then store order, lines and event in one SQL statement.

This is the one place where speed is bought with plainness. Python's CPU time limits how many orders a machine takes in,
so nothing here goes through the ORM, and one JSON text is at once the answer to the channel, the source of the rows and
what a repeated request gets again.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from eventbus import Contract, acting_as, admission, current_cause, database_time, encode_json, new_id, publish_with
from orders.currencies import COUNTRIES, FINEST, SMALLEST
from orders.events import Address, Adjustment, AdjustmentKind, Customer, Item, OrderCreated
from orders.models import Status

MAX_ITEMS = 500
MAX_ADJUSTMENTS = 20
#: Times MAX_ITEMS it still fits into the integer that counts a product over a whole order.
MAX_QUANTITY = 1_000_000
MAX_INTEGER_DIGITS = 12

_EMAIL = re.compile(
    r"(?=.{3,254}\Z)(?=[^@]{1,64}@)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _line(value: str) -> str:
    # Line breaks could end a mail header, the other control characters hide things; PostgreSQL refuses NUL.
    # isprintable() answers quickly for nearly all; it alone would refuse the joiners that some scripts need.
    if not value.isprintable() and _CONTROL.search(value):
        raise PydanticCustomError("control_character", "No line breaks or other control characters.")
    if value != value.strip():
        raise PydanticCustomError("surrounding_space", "No spaces before or after.")
    return value


def _email(value: str) -> str:
    if not _EMAIL.fullmatch(value):
        raise PydanticCustomError("email", "Not an e-mail address. Write an international domain in its xn-- form.")
    return value


def _currency(value: str) -> str:
    if value not in SMALLEST:
        raise PydanticCustomError("currency", "Not an ISO 4217 currency code, such as USD.")
    return value


def _country(value: str) -> str:
    if value not in COUNTRIES:
        raise PydanticCustomError("country", "Not an ISO 3166-1 alpha-2 country code, such as US.")
    return value


def _amount(value: object, info: ValidationInfo) -> Decimal:
    """The amount with exactly as many decimals as the order's currency has, which the context names."""
    exact = _signed_amount(value, info)
    if exact.is_signed():
        raise PydanticCustomError("amount_negative", "An amount is not negative.")
    return exact


def _signed_amount(value: object, info: ValidationInfo) -> Decimal:
    """The same, and it may be below zero."""
    if type(value) is int:
        value = Decimal(value)
    elif type(value) is not Decimal:
        raise PydanticCustomError("amount_type", "An amount is a JSON number.")
    # First, because quantize() must not have to write out the zeros of 1e999999.
    if value.adjusted() >= MAX_INTEGER_DIGITS:
        raise PydanticCustomError("amount_too_large", "An amount has at most 12 digits before the point.")
    smallest: Any = info.context
    exact = value.quantize(smallest)
    if exact != value:
        raise PydanticCustomError("amount_too_precise", "More decimals than the currency has.")
    return exact


# What the functions above refuse, as far as JSON Schema can say it: for the API's document, not to be held to twice.
_CHARACTER, _INNER = r"[^\s\x00-\x1f\x7f-\x9f\u2028\u2029]", r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]"
_ONE_LINE: Any = {"pattern": f"^{_CHARACTER}({_INNER}*{_CHARACTER})?$"}
_MAYBE_ONE_LINE: Any = {"pattern": f"^({_CHARACTER}({_INNER}*{_CHARACTER})?)?$"}
_AN_EMAIL: Any = {"format": "email", "maxLength": 254, "description": "An international domain in its `xn--` form."}
_A_COUNTRY: Any = {"pattern": "^[A-Z]{2}$", "description": "An ISO 3166-1 alpha-2 code."}
_A_CURRENCY: Any = {"pattern": "^[A-Z]{3}$", "description": "An ISO 4217 code."}

Line = Annotated[
    str, Field(strict=True, min_length=1, max_length=200, json_schema_extra=_ONE_LINE), AfterValidator(_line)
]
Identifier = Annotated[
    str, Field(strict=True, min_length=1, max_length=64, json_schema_extra=_ONE_LINE), AfterValidator(_line)
]
# Not every country has states or postal codes.
MaybeLine = Annotated[str, Field(strict=True, max_length=200, json_schema_extra=_MAYBE_ONE_LINE), AfterValidator(_line)]
# The bound is MAX_INTEGER_DIGITS. How many decimals there may be, the currency says.
Amount = Annotated[
    Decimal, PlainValidator(_amount), WithJsonSchema({"type": "number", "minimum": 0, "exclusiveMaximum": 10**12})
]
SignedAmount = Annotated[
    Decimal,
    PlainValidator(_signed_amount),
    WithJsonSchema({"type": "number", "exclusiveMinimum": -(10**12), "exclusiveMaximum": 10**12}),
]

_REQUEST = ConfigDict(extra="forbid", populate_by_name=False)
#: An order as one may send it, for the document.
EXAMPLE: Any = {
    "customerId": "c-77",
    "customerEmail": "ada@shop.example",
    "items": [{"productId": "desk-lamp", "productName": "Desk lamp", "quantity": 2, "unitPrice": 19.90}],
    "shippingAddress": {
        "street": "12 Harbour Road",
        "city": "Bristol",
        "state": "",
        "postalCode": "BS1 4RN",
        "country": "GB",
    },
    "adjustments": [{"kind": "shipping", "label": "By parcel", "amount": 4.90}],
    "totalAmount": 44.70,
    "currency": "GBP",
}


class NewItem(Item):
    """A line as a channel sends it."""

    model_config = _REQUEST

    product_id: Identifier
    product_name: Line
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)]
    unit_price: Amount


class NewAdjustment(Adjustment):
    """What a channel adds to the items of an order."""

    model_config = _REQUEST

    kind: AdjustmentKind
    label: Line
    amount: SignedAmount


class NewAddress(Address):
    """A shipping address as a channel sends it."""

    model_config = _REQUEST

    street: Line
    city: Line
    state: MaybeLine
    postal_code: MaybeLine
    country: Annotated[str, Field(strict=True, json_schema_extra=_A_COUNTRY), AfterValidator(_country)]


class NewOrder(Contract):
    """An order as a channel sends it. Whose it is and how it stands is not the channel's to say.

    The total is that of the items and the adjustments.
    """

    model_config = ConfigDict(**_REQUEST, json_schema_extra={"examples": [EXAMPLE]})

    customer_id: Identifier
    customer_email: Annotated[str, Field(strict=True, json_schema_extra=_AN_EMAIL), AfterValidator(_email)]
    items: Annotated[list[NewItem], Field(min_length=1, max_length=MAX_ITEMS)]
    shipping_address: NewAddress
    adjustments: Annotated[list[NewAdjustment], Field(max_length=MAX_ADJUSTMENTS)] = []
    total_amount: Annotated[Amount, Field(description="Exactly the items and the adjustments.")]
    currency: Annotated[str, Field(strict=True, json_schema_extra=_A_CURRENCY), AfterValidator(_currency)] = "USD"

    @field_validator("total_amount", mode="after")
    @classmethod
    def _adds_up(cls, value: Decimal, info: ValidationInfo) -> Decimal:
        # Lines that are wrong are not there, and are reported by themselves.
        items, adjustments = info.data.get("items", ()), info.data.get("adjustments")
        total = _sum_of(items) + sum((each.amount for each in adjustments or ()), Decimal(0))
        if items and adjustments is not None and total != value:
            what = "The items and adjustments add" if adjustments else "The items add"
            raise PydanticCustomError("total_mismatch", f"{what} up to {{total}}.", {"total": str(total)})
        return value

    @field_validator("adjustments", mode="after")
    @classmethod
    def _not_below_zero(cls, value: list[NewAdjustment], info: ValidationInfo) -> list[NewAdjustment]:
        items = info.data.get("items", ())
        if items and _sum_of(items) + sum(each.amount for each in value) < 0:
            raise PydanticCustomError("total_negative", "With these the total would be below zero.")
        return value

    def as_asked(self) -> dict[str, Any]:
        """All that tells it from another order. What it leaves out it says as those did who knew of no adjustments:
        their repeats are still the same request."""
        return self.model_dump(exclude=None if self.adjustments else {"adjustments"})


def _sum_of(items: Sequence[Item]) -> Decimal:
    return sum((item.quantity * item.unit_price for item in items), Decimal(0))


def parse_order(data: object) -> NewOrder:
    """What a channel sent, as an order that adds up. Raises a ValidationError that names all that is wrong."""
    currency = data.get("currency", "USD") if isinstance(data, dict) else None
    # A currency that does not exist is reported by its own field; the amounts are then held to the finest there is.
    smallest = SMALLEST.get(currency, FINEST) if isinstance(currency, str) else FINEST
    return NewOrder.model_validate(data, context=smallest)


class Behind(Exception):
    """Too many events wait to be passed on: no order is taken in for so many seconds."""

    def __init__(self, seconds: int) -> None:
        super().__init__("Too many orders wait to be passed on. Try again later.")
        self.seconds = seconds


_PLACE = """answer AS MATERIALIZED (
    SELECT %s::json AS body
), placed AS (
    INSERT INTO orders_order (id, channel_id, status, customer_id, customer_email, shipping_address,
                              total_amount, currency, correlation_id, created_at, updated_at)
    SELECT t."orderId", %s, t.status, t."customerId", t."customerEmail", t."shippingAddress",
           t."totalAmount", t.currency, %s, t."createdAt", t."updatedAt"
    FROM answer, json_to_record(body) AS t(
        "orderId" uuid, status text, "customerId" text, "customerEmail" text, "shippingAddress" jsonb,
        "totalAmount" numeric, currency text, "createdAt" timestamptz, "updatedAt" timestamptz)
), lines AS (
    INSERT INTO orders_orderitem (order_id, line, product_id, product_name, quantity, unit_price)
    SELECT (body->>'orderId')::uuid, t.line, t."productId", t."productName", t.quantity, t."unitPrice"
    FROM answer, ROWS FROM (json_to_recordset(body->'items') AS (
        "productId" text, "productName" text, quantity integer, "unitPrice" numeric
    )) WITH ORDINALITY AS t("productId", "productName", quantity, "unitPrice", line)
)"""
# Only for orders that have some: most have none, and need not pay for it.
_PLACE_ADJUSTMENTS = """adjustments AS (
    INSERT INTO orders_orderadjustment (order_id, line, kind, label, amount)
    SELECT (body->>'orderId')::uuid, t.line, t.kind, t.label, t.amount
    FROM answer, ROWS FROM (json_to_recordset(body->'adjustments') AS (kind text, label text, amount numeric))
        WITH ORDINALITY AS t(kind, label, amount, line)
)"""


def place_order(order: NewOrder, *, channel_id: int, also: tuple[str, Sequence[Any]] | None = None) -> str:
    """Store an order, its parts and its event in one statement; returns the order as JSON, as the API shows it.

    `also`: one more CTE for that statement, with its parameters. It finds the order's JSON as `body` in a CTE `answer`.
    Raises Behind.
    """
    if (seconds := admission.seconds_to_wait()) is not None:
        raise Behind(seconds)
    now = database_time()
    order_id = new_id()
    created = OrderCreated(
        order_id=order_id,
        customer=Customer(id=order.customer_id, email=order.customer_email),
        items=order.items,
        adjustments=order.adjustments,
        shipping_address=order.shipping_address,
        total_amount=order.total_amount,
        currency=order.currency,
        created_at=now,
    )
    body: dict[str, Any] = {"orderId": order_id, "status": Status.CREATED.value}
    body |= order.model_dump(by_alias=True)
    body |= {"createdAt": now, "updatedAt": now}
    answer = encode_json(body).decode()
    with acting_as(channel_id):
        change, params = _PLACE, [answer, channel_id, current_cause().correlation_id]
        if order.adjustments:
            change = f"{change}, {_PLACE_ADJUSTMENTS}"
        if also is not None:
            change, params = f"{change}, {also[0]}", [*params, *also[1]]
        publish_with(change, params, created, at=now)
    return answer
