"""Orders and stock for tests. Ids are fresh: the archive keeps what tests with real commits leave in it."""

from dataclasses import asdict, astuple
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from rest_framework.test import APIClient

from eventbus import Event
from eventbus.archive import first_id_at
from eventbus.testing import ArchivedEvent, Stream, published
from inventory.history import Quantities, fold
from inventory.models import Stock
from orders.events import Address, Customer, Item, OrderCancelled, OrderCreated, OrderShipped

E = TypeVar("E", bound=Event)


def order_created(*lines: tuple[str, int], order_id: UUID | None = None) -> OrderCreated:
    """An order of these products and quantities, as intake announces it."""
    items = tuple(
        Item(product_id=product_id, product_name=product_id.title(), quantity=quantity, unit_price=Decimal("9.99"))
        for product_id, quantity in lines
    )
    return OrderCreated(
        order_id=order_id or uuid4(),
        customer=Customer(id="c-1", email="ada@shop.example"),
        items=items,
        shipping_address=Address(street="1 Main St", city="Springfield", state="IL", postal_code="62701", country="US"),
        total_amount=sum((item.quantity * item.unit_price for item in items), Decimal(0)),
        currency="USD",
        created_at=datetime.now(UTC),
    )


def order_cancelled(order: OrderCreated) -> OrderCancelled:
    """The same order, called off."""
    return OrderCancelled(**_told(order), reason="requested")


def order_shipped(order: OrderCreated) -> OrderShipped:
    """The same order, on its way."""
    return OrderShipped(
        **_told(order), carrier="Fast Parcel", tracking_number="FP-1", estimated_delivery=date(2026, 12, 1)
    )


def _told(order: OrderCreated) -> dict[str, Any]:
    told = {field: getattr(order, field) for field in ("order_id", "items", "adjustments", "total_amount", "currency")}
    return told | {"customer_id": order.customer.id, "customer_email": order.customer.email}


def shelve(product_id: str, available: int, **fields: Any) -> Stock:
    """Stock of a product, without an event."""
    return Stock.objects.create(
        product_id=product_id, product_name=product_id.title(), available=available, received=available, **fields
    )


def stream_of(product_id: str) -> list[ArchivedEvent]:
    """All that happened to a product, in order."""
    return list(ArchivedEvent.objects.filter(aggregate_type="product", aggregate_id=product_id).order_by("sequence"))


def as_it_is(product_id: str) -> Quantities:
    """What the stock row says."""
    return Quantities(*Stock.objects.values_list("available", "reserved", "shipped").get(product_id=product_id))


def tell(product_id: str, *told: tuple[datetime, str, dict[str, Any]]) -> None:
    """A product with this history: moment, last part of the event's type, data. Its stock is what it adds up to."""
    events = [(f"inventory.stock.{name}", data) for _, name, data in told]
    stock = fold(events)
    Stock.objects.create(
        product_id=product_id, product_name=product_id.title(), received=sum(astuple(stock)), **asdict(stock)
    )
    for sequence, ((moment, _, _), (event_type, data)) in enumerate(zip(told, events, strict=True), start=1):
        ArchivedEvent.objects.create(
            id=UUID(int=first_id_at(moment).int | uuid4().int >> 48), type=event_type, version="1.0",
            aggregate_type="product", aggregate_id=product_id, sequence=sequence, occurred_at=moment,
            correlation_id="test", data=data,
        )  # fmt: skip
    Stream.objects.create(aggregate_type="product", aggregate_id=product_id, sequence=len(told))


def signed_in(user: User) -> APIClient:
    """The API as this user calls it."""
    client = APIClient()
    client.force_authenticate(user)
    return client


def about(contract: type[E], *orders: OrderCreated) -> list[E]:
    """What was published of this contract for these orders, oldest first."""
    ids = {order.order_id for order in orders}
    return [event for event in published(contract) if getattr(event, "order_id", None) in ids]


def available(product_id: str) -> int:
    """How many of the product can still be sold."""
    return Stock.objects.values_list("available", flat=True).get(product_id=product_id)
