"""Webhooks and events for tests. Ids are fresh: the archive keeps what tests with real commits leave in it."""

from decimal import Decimal
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User

from eventbus import Event, acting_as, database_time, new_id
from eventbus.testing import recorded
from inventory.events import StockLow
from orders.events import Address, Customer, Item, OrderConfirmed, OrderCreated
from webhooks import services
from webhooks.models import Delivery, Webhook

ITEMS = (Item(product_id="cup", product_name="Cup", quantity=2, unit_price=Decimal("4.50")),)
WHOM = {"customer_id": "c-1", "customer_email": "ada@customer.example"}


def a_partner(**fields: Any) -> User:
    """A partner's account."""
    return User.objects.create(**{"username": f"partner-{uuid4().hex[:12]}"} | fields)


def a_webhook(owner: User, url: str = "https://partner.example/hook", **fields: Any) -> tuple[Webhook, str]:
    """A webhook and its secret. It listens to confirmed orders and products that run low."""
    wish = {"event_types": [OrderConfirmed.type, StockLow.type], "filters": {}} | fields
    return services.create_webhook(owner=owner, wish=services.Wish(url=url, **wish))


def confirmed(channel: User, *, currency: str = "EUR") -> OrderConfirmed:
    """An order that this channel placed, and that is confirmed: the event, as a consumer gets it."""
    told = {"order_id": new_id(), "items": ITEMS, "total_amount": Decimal(9), "currency": currency}
    where = Address(street="1 Main St", city="Springfield", state="IL", postal_code="62701", country="US")
    customer = Customer(id=WHOM["customer_id"], email=WHOM["customer_email"])
    with acting_as(channel.pk):
        created = OrderCreated(**told, customer=customer, shipping_address=where, created_at="2026-03-01T00:00:00Z")
        _, event = recorded(created, OrderConfirmed(**told, **WHOM))
    assert isinstance(event, OrderConfirmed)
    return event


def low_stock() -> Event:
    """A product that runs low, as a consumer gets it."""
    (event,) = recorded(StockLow(product_id=f"cup-{uuid4().hex[:8]}", available=1, threshold=5))
    return event


def many_deliveries(webhook: Webhook, count: int) -> None:
    """So many that are due."""
    made = [
        Delivery(
            webhook=webhook,
            event_id=new_id(),
            event_type=StockLow.type,
            version=StockLow.version,
            aggregate_type=StockLow.aggregate_type,
            aggregate_id="cup",
            occurred_at=database_time(),
        )
        for _ in range(count)
    ]
    Delivery.objects.bulk_create(made, batch_size=2_000)
