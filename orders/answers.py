"""What the API answers about orders, for its document. `queries.as_data` is what makes them."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from eventbus import Contract
from orders.events import Address, Adjustment, Amount, Currency, Email, Identifier, Item, OrderStatusChanged
from orders.intake import EXAMPLE
from orders.models import Status

_ORDER: Any = {
    "orderId": "01a21ab8-8af7-7235-b185-814cfa29344d",
    "status": "CONFIRMED",
    **EXAMPLE,
    "createdAt": "2026-11-27T01:57:11.543Z",
    "updatedAt": "2026-11-27T01:57:11.551Z",
}
_EVENT: Any = {
    "version": "1.0",
    "eventId": "01a21ab8-8b00-73b0-bd53-c7261a403bb2",
    "eventType": OrderStatusChanged.type,
    "aggregateType": "order",
    "aggregateId": "01a21ab8-8af7-7235-b185-814cfa29344d",
    "sequence": 4,
    "occurredAt": "2026-11-27T01:57:11.551659Z",
    "metadata": {"correlationId": "checkout-7", "causationId": "01a21ab8-8afa-7f21-9d07-5a3f5ad1d2bb"},
    "data": {"orderId": "01a21ab8-8af7-7235-b185-814cfa29344d"},
}

NextLink = Annotated[str | None, Field(description="The address of the next page; null on the last one.")]
PreviousLink = Annotated[str | None, Field(description="The address of the page before, where there is one to go to.")]


class OrderAnswer(Contract):
    """An order."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ORDER]})

    order_id: UUID
    status: Status
    customer_id: Identifier
    customer_email: Email
    items: list[Item]
    shipping_address: Address
    adjustments: list[Adjustment]
    total_amount: Annotated[Amount, Field(description="Items and adjustments.")]
    currency: Currency
    created_at: datetime
    updated_at: Annotated[datetime, Field(description="When its status changed last.")]


class OrderList(Contract):
    """A part of the list of orders."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"results": [_ORDER], "next": None, "previous": None}]})

    results: list[OrderAnswer]
    next: NextLink
    previous: PreviousLink


class EventMetadata(Contract):
    """What an event belongs to: one action's correlation id, the event directly before, the account that acted."""

    correlation_id: str
    causation_id: UUID | None = None
    user_id: str | None = None


class EventAnswer(Contract):
    """An event as it was published. What is in `data`, its schema says: `/api/v1/schemas/{eventType}/{version}`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EVENT]})

    version: str
    event_id: UUID
    event_type: str
    aggregate_type: str
    aggregate_id: str
    sequence: Annotated[int, Field(ge=1, description="1, 2, 3 … within the order.")]
    occurred_at: datetime
    metadata: EventMetadata
    data: dict[str, Any]


class EventList(Contract):
    """Events, oldest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"results": [_EVENT], "next": None, "previous": None}]})

    results: list[EventAnswer]
    next: NextLink
    previous: PreviousLink
