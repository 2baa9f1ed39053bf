"""Messages and requests that must be refused, each in its own way, and cost nobody else anything."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from eventbus.broker.publisher import ConfirmingPublisher, Outgoing
from tools.harness.shop import Wish

#: From an event's id to the bytes of an event.
Make = Callable[[UUID], bytes]
#: More than a circuit breaker judges by.
MANY = 30
CREATED = "order.created.v1"


def _envelope(event_id: UUID, event_type: str, order_id: UUID, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "1.0",
        "eventId": str(event_id),
        "eventType": event_type,
        "aggregateType": "order",
        "aggregateId": str(order_id),
        "sequence": 1,
        "occurredAt": datetime.now(UTC).isoformat(),
        "metadata": {"correlationId": f"poison {event_id}"},
        "data": {"orderId": str(order_id), **data},
    }


def _created(event_id: UUID, **fields: object) -> dict[str, Any]:
    wanted = Wish("poison@shop.example", {"plenty-0": 1}).body
    data = {**wanted, "createdAt": datetime.now(UTC).isoformat()}
    return _envelope(event_id, "order.created", uuid7(), data) | fields


def with_a_nul(event_id: UUID) -> bytes:
    """No store can hold it."""
    event = _created(event_id)
    event["data"]["items"][0]["productId"] = "plenty\0"
    return json.dumps(event).encode()


def not_json(event_id: UUID) -> bytes:
    return json.dumps(_created(event_id)).encode()[:-20]


def of_an_unknown_version(event_id: UUID) -> bytes:
    return json.dumps(_created(event_id, version="9.0")).encode()


def of_no_order(event_id: UUID) -> bytes:
    """A proper event, that a handler has to refuse: there is no such order."""
    items = [{"productId": "plenty-0", "quantity": 1}]
    return json.dumps(_envelope(event_id, "inventory.reserved", uuid7(), {"items": items})).encode()


#: What nobody can read, whichever queue it is in.
UNREADABLE: tuple[Make, ...] = (with_a_nul, not_json, of_an_unknown_version)


def publish(broker_url: str, exchange: str, key: str, make: Make, noted: dict[str, bool]) -> None:
    """Send many, all alike, and note their ids, and whether the broker confirmed them. Raises one of SEND_ERRORS."""
    ids = [uuid7() for _ in range(MANY)]
    noted.update({str(event_id): False for event_id in ids})
    publisher = ConfirmingPublisher(broker_url, confirm_timeout=10)
    try:
        window = [Outgoing(exchange, key, make(event_id), {"message_id": str(event_id)}) for event_id in ids]
        noted.update({str(ids[place]): True for place in publisher.send(window)})
    finally:
        publisher.close()


def bad_orders() -> list[bytes]:
    """Orders that must not be taken in."""
    good = Wish("poison@shop.example", {"plenty-0": 1}).body
    item = good["items"][0]

    def changed(**fields: object) -> bytes:
        return json.dumps(good | fields).encode()

    return [
        b"{",
        b"[" * 50_000 + b"]" * 50_000,
        json.dumps(good).encode().replace(b"12.5", b"NaN", 1),
        json.dumps(good).encode("utf-16"),
        changed(items=[item | {"productName": "a\0b"}]),
        changed(items=[item | {"productId": "\ud800"}]),
        changed(items=[item | {"quantity": -1}]),
        changed(items=[item | {"quantity": 2**31}]),
        changed(items=[]),
        changed(currency="XXX"),
        changed(status="CONFIRMED"),
        changed(customerEmail="poison@shop.example\nBcc: all@shop.example"),
    ]
