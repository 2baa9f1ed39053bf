"""Events of orders, for tests."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from orders.events import Address, Customer, Item, OrderCreated, OrderShipped

NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)


def item(quantity: int = 1) -> Item:
    return Item(product_id="cup", product_name="Cup", quantity=quantity, unit_price=Decimal("9.99"))


def address(street: str = "1 Main St", country: str = "US") -> Address:
    return Address(street=street, city="Springfield", state="IL", postal_code="62701", country=country)


def order_created(**changes: Any) -> OrderCreated:
    told = _told() | {"shipping_address": address(), "created_at": NOON} | changes
    customer = Customer(id=told.pop("customer_id"), email=told.pop("customer_email"))
    return OrderCreated(**told, customer=customer)


def order_shipped(**changes: Any) -> OrderShipped:
    how = {"carrier": "Fast Parcel", "tracking_number": "FP-1", "estimated_delivery": date(2026, 12, 1)}
    return OrderShipped(**(_told() | how | changes))


def _told() -> dict[str, Any]:
    return {
        "order_id": uuid4(),
        "customer_id": "c-1",
        "customer_email": "ada@customer.example",
        "items": (item(),),
        "total_amount": Decimal("9.99"),
        "currency": "USD",
    }
