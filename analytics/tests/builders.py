"""Orders and what happens to them, as events."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from analytics.consumers import customer_orders, fulfilment, sales_by_day, sales_by_product
from analytics.models import CustomerOrder, Fulfilment, SalesByDay, SalesByProduct
from eventbus import Event, new_id
from eventbus.testing import delivered
from orders.events import (
    Address,
    Adjustment,
    Customer,
    Item,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    OrderRejected,
    OrderShipped,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADDRESS = Address(street="1 Main St", city="Springfield", state="IL", postal_code="62701", country="US")
VASE = Item(product_id="vase", product_name="Vase", quantity=2, unit_price=Decimal("19.90"))
JUG = Item(product_id="jug", product_name="Jug", quantity=1, unit_price=Decimal("5.50"))
CONSUMERS: dict[Any, Any] = {
    sales_by_day: SalesByDay,
    sales_by_product: SalesByProduct,
    customer_orders: CustomerOrder,
    fulfilment: Fulfilment,
}


def story(
    *kinds: str,
    order_id: UUID | None = None,
    began: datetime = NOON,
    every: timedelta = timedelta(minutes=1),
    items: tuple[Item, ...] = (VASE, JUG),
    currency: str = "USD",
    customer_id: str = "c-1",
    adjustments: tuple[Adjustment, ...] = (),
) -> list[Any]:
    """An order's events, as they would be delivered."""
    told = {
        "order_id": order_id or new_id(),
        "items": items,
        "adjustments": adjustments,
        "total_amount": sum(item.quantity * item.unit_price for item in items)
        + sum(each.amount for each in adjustments),
        "currency": currency,
    }
    customer = Customer(id=customer_id, email="ada@shop.example")
    who = {"customer_id": customer.id, "customer_email": customer.email}
    how = {"carrier": "Fast Parcel", "tracking_number": "FP-1", "estimated_delivery": date(2026, 3, 9)}
    make: dict[str, Any] = {
        "created": lambda at: OrderCreated(**told, customer=customer, shipping_address=ADDRESS, created_at=at),
        "confirmed": lambda at: OrderConfirmed(**told, **who),
        "rejected": lambda at: OrderRejected(**told, **who, reason="insufficient_stock"),
        "cancelled": lambda at: OrderCancelled(**told, **who, reason="requested"),
        "shipped": lambda at: OrderShipped(**told, **who, **how),
    }
    return [at(make[kind](began + place * every), began + place * every) for place, kind in enumerate(kinds)]


def at(event: Event, moment: datetime) -> Event:
    """The event as it arrives, having happened at that moment."""
    arrived = delivered(event)
    arrived._envelope = arrived.envelope.model_copy(update={"occurred_at": moment})
    return arrived
