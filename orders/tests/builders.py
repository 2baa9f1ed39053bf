"""Orders for tests, as channels send them and as rows."""

import json
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from django.test import Client
from knox.models import AuthToken

from eventbus import encode_json
from eventbus.testing import ArchivedEvent, Outbox, ProcessedEvent
from orders import intake, queries
from orders.models import Order
from shipping.events import ShipmentDispatched

PATH = "/api/v1/orders"


def a_channel(**fields: Any) -> User:
    """A sales channel's account; `fields` make it somebody else's."""
    return User.objects.create(**{"username": f"channel-{uuid4().hex[:12]}"} | fields)


def an_order(**changes: Any) -> dict[str, Any]:
    """A valid request body; `changes` replace whole fields."""
    order: dict[str, Any] = {
        "customerId": "c-1",
        "customerEmail": "ada@shop.example",
        "items": [an_item(), an_item(productId="jug", productName="Jug", quantity=1, unitPrice=Decimal("5.50"))],
        "shippingAddress": {
            "street": "1 Main St",
            "city": "Springfield",
            "state": "IL",
            "postalCode": "62701",
            "country": "US",
        },
        "currency": "USD",
        **changes,
    }
    if "totalAmount" not in order:
        order["totalAmount"] = sum(item["quantity"] * item["unitPrice"] for item in order["items"])
        order["totalAmount"] += sum(each["amount"] for each in order.get("adjustments", []))
    return order


def an_item(**changes: Any) -> dict[str, Any]:
    return {"productId": "vase", "productName": "Vase", "quantity": 2, "unitPrice": Decimal("19.90"), **changes}


def an_adjustment(kind: str = "shipping", amount: str = "4.90", **changes: Any) -> dict[str, Any]:
    return {"kind": kind, "label": kind.capitalize(), "amount": Decimal(amount), **changes}


def placed_order(channel: User | None = None, **changes: Any) -> Order:
    """An order that intake has stored, with its event."""
    channel = channel or a_channel()
    placed = intake.place_order(intake.parse_order(an_order(**changes)), channel_id=channel.pk)
    return Order.objects.get(pk=json.loads(placed)["orderId"])


def created_event(order: Order) -> UUID:
    """The id of the event that this order waits for an answer to."""
    return ArchivedEvent.objects.get(type="order.created", aggregate_id=str(order.pk)).pk


def silent_order(channel: User | None = None, **changes: Any) -> Order:
    """An order whose event inventory gave up at once: nothing will answer it."""
    order = placed_order(channel, **changes)
    event_id = created_event(order)
    Outbox.objects.filter(event_id=event_id).delete()
    ProcessedEvent.objects.create(
        event_id=event_id, consumer=queries.INVENTORY, outcome="dead", processed_at=order.created_at
    )
    return order


def dispatched(order_id: UUID) -> ShipmentDispatched:
    """What shipping announces when the order's parcel has left the house."""
    return ShipmentDispatched(
        order_id=order_id, carrier="Fast Parcel", tracking_number="FP-1", estimated_delivery=date(2026, 12, 1)
    )


class Api:
    """The API as one channel calls it: JSON with exact numbers, both ways."""

    def __init__(self, user: User, **headers: str) -> None:
        _, token = AuthToken.objects.create(user)
        self.user = user
        # A server error must come back as an answer, as it does to a channel.
        self.client = Client(raise_request_exception=False)
        self.headers = {"Authorization": f"Bearer {token}", **headers}

    def get(self, path: str = PATH, **query: Any) -> Any:
        return self.client.get(path, query, headers=self.headers)

    def post(
        self, body: Any = None, *, path: str = PATH, content_type: str = "application/json", **headers: str
    ) -> Any:
        """Post a body: bytes as they are, anything else as JSON; a valid order if there is none."""
        raw = body if isinstance(body, bytes) else encode_json(an_order() if body is None else body)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(path, raw, content_type=content_type, headers={**self.headers, **names})

    def place(self, **changes: Any) -> UUID:
        """Place an order that the API must take; returns its id."""
        answer = self.post(an_order(**changes))
        assert answer.status_code == 201, answer.content
        return UUID(answer.json()["orderId"])


def exact(answer: Any) -> Any:
    """An answer's JSON with its numbers as they were written."""
    return json.loads(answer.content, parse_float=Decimal)


def pointers(answer: Any) -> dict[str, str]:
    """What an answer says is wrong: code by pointer."""
    assert answer["Content-Type"] == "application/problem+json", answer.content
    return {error["pointer"]: error["code"] for error in answer.json()["errors"]}
