"""Orders as a shop's channel sends them: three lines, about a kilobyte as an event."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from api.tokens import create_channel
from eventbus import new_id
from eventbus.broker.message import to_message
from eventbus.broker.publisher import Outgoing
from eventbus.contracts.rows import WireFields
from inventory.models import Stock
from orders.events import OrderCreated

#: So many that orders rarely wait for each other's stock.
PRODUCTS = [f"P-{number:03}" for number in range(300)]
PRICES = (Decimal("19.90"), Decimal("4.50"), Decimal("120.00"))
ADDRESS = {"street": "12 Harbour Road", "city": "Bristol", "state": "Avon", "postalCode": "BS1 4RN", "country": "GB"}

E = TypeVar("E", bound=OrderCreated)
_numbers = itertools.count()


def lines() -> list[dict[str, Any]]:
    """Three products, others for each order."""
    first = next(_numbers) * 3
    return [
        {
            "productId": PRODUCTS[(first + place) % len(PRODUCTS)],
            "productName": f"Sample product no. {(first + place) % len(PRODUCTS)}",
            "quantity": place + 1,
            "unitPrice": price,
        }
        for place, price in enumerate(PRICES)
    ]


def total(items: list[dict[str, Any]]) -> Decimal:
    return sum((item["quantity"] * item["unitPrice"] for item in items), Decimal(0))


def order_body() -> dict[str, Any]:
    """The body of a POST."""
    items = lines()
    return {
        "customerId": f"customer-{next(_numbers)}",
        "customerEmail": "someone@example.com",
        "items": items,
        "shippingAddress": ADDRESS,
        "totalAmount": total(items),
        "currency": "GBP",
    }


def order_event(contract: type[E]) -> E:
    """The event of such an order."""
    body = order_body()
    customer = {"id": body.pop("customerId"), "email": body.pop("customerEmail")}
    return contract.model_validate({**body, "customer": customer, "orderId": new_id(), "createdAt": datetime.now(UTC)})


def order_message(contract: type[OrderCreated], queue: str) -> Outgoing:
    """Such an event as the relay's message, addressed to one queue alone."""
    event = order_event(contract)
    fields = WireFields(
        event_id=new_id(),
        event_type=event.type,
        version=event.version,
        aggregate_type=event.aggregate_type,
        aggregate_id=event.aggregate_id,
        sequence=1,
        occurred_at=event.created_at,
        correlation_id=str(new_id()),
        causation_id=None,
        user_id="1",
        data=event.data().decode(),
    )
    return replace(to_message(fields), exchange="", routing_key=queue)


def fill_shelves() -> None:
    """More stock of every product than any benchmark sells."""
    plenty = 10**9
    Stock.objects.bulk_create(
        Stock(product_id=product, product_name=f"Sample product {product}", available=plenty, received=plenty)
        for product in PRODUCTS
    )


def token() -> str:
    """A channel's token."""
    secret, _ = create_channel(name="bench", days=1)
    return secret
