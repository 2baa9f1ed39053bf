"""Parcels and the events that make them, for tests."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from eventbus.testing import deliver
from inventory.events import InventoryReserved, ReservedItem
from orders.events import Address, Customer, Item, OrderCancelled, OrderCreated, OrderRejected
from shipping.consumers import prepare
from shipping.models import Shipment

#: When a parcel that leaves today may arrive.
SOON = (datetime.now(UTC) + timedelta(days=5)).date()
HOW: dict[str, Any] = {"carrier": "Fast Parcel", "tracking_number": "FP-1", "estimated_delivery": SOON}
ADDRESS = Address(street="1 Main St", city="Springfield", state="IL", postal_code="62701", country="US")
CUSTOMER = Customer(id="c-1", email="ada@customer.example")
WHO: dict[str, Any] = {"customer_id": CUSTOMER.id, "customer_email": CUSTOMER.email}
ITEMS = (Item(product_id="cup", product_name="Cup", quantity=2, unit_price=Decimal("9.99")),)


def order_created(order_id: UUID | None = None) -> OrderCreated:
    return OrderCreated(
        **_told(order_id or uuid4()), customer=CUSTOMER, shipping_address=ADDRESS, created_at=datetime.now(UTC)
    )


def order_cancelled(order_id: UUID) -> OrderCancelled:
    return OrderCancelled(**_told(order_id), **WHO, reason="requested")


def order_rejected(order_id: UUID) -> OrderRejected:
    return OrderRejected(**_told(order_id), **WHO, reason="insufficient_stock")


def reserved(order_id: UUID) -> InventoryReserved:
    return InventoryReserved(order_id=order_id, items=(ReservedItem(product_id="cup", quantity=2),))


def prepared_shipment() -> Shipment:
    """A parcel that is ready to go."""
    created = order_created()
    deliver([created, reserved(created.order_id)], to=prepare)
    return Shipment.objects.get(pk=created.order_id)


def _told(order_id: UUID) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "items": ITEMS,
        "total_amount": Decimal("19.98"),
        "currency": "USD",
    }
