"""What events and states mean, in plain words."""

from collections.abc import Callable, Mapping
from typing import Any

from inventory.events import (
    InventoryReleased,
    InventoryReservationFailed,
    InventoryReserved,
    StockLow,
)
from notifications.events import NotificationQueued, NotificationSent
from orders.events import CancelledBy, OrderCancelled, OrderConfirmed, OrderCreated, OrderRejected, OrderShipped
from shipping.events import ShipmentDispatched

Data = Mapping[str, Any]

TIMES = "\N{MULTIPLICATION SIGN}"

BY_WHOM = {
    CancelledBy.CUSTOMER: "by the customer",
    CancelledBy.STAFF: "by staff",
    CancelledBy.DEADLINE: "by the shop, because nothing answered it in time",
    None: "",
}


def _times(items: list[Data]) -> str:
    return ", ".join(f"{item['quantity']} {TIMES} {item.get('productName') or item['productId']}" for item in items)


def shortages(data: Data) -> str:
    """What there was too little of, in a sentence."""
    names = {item["productId"]: item["productName"] for item in data.get("items", ())}
    parts = [
        f"{short['requested']:,} of {names.get(short['productId'], short['productId'])} asked for, "
        f"{short['available']:,} left"
        for short in data.get("shortages", ())
    ]
    return "; ".join(parts) or str(data.get("reason", "")).replace("_", " ")


def _cancelled(data: Data) -> str:
    whom = BY_WHOM.get(data.get("cancelledBy"), "")
    return f"Cancelled {whom}: {data['reason']}".replace(" :", ":")


_TOLD: Mapping[str, tuple[str, Callable[[Data], str]]] = {
    OrderCreated.type: ("cart", lambda data: f"Order placed: {_times(data['items'])}"),
    InventoryReserved.type: ("box", lambda data: f"Stock set aside: {_times(data['items'])}"),
    InventoryReservationFailed.type: ("stop", lambda data: f"Not enough stock: {shortages(data)}"),
    InventoryReleased.type: ("box", lambda data: f"Stock free again: {_times(data['items'])}"),
    StockLow.type: ("box", lambda data: f"{data['productId']} is running low: {data['available']:,} left"),
    OrderConfirmed.type: ("check", lambda data: "Order confirmed"),
    OrderRejected.type: ("stop", lambda data: f"Order rejected: {shortages(data)}"),
    OrderCancelled.type: ("stop", _cancelled),
    ShipmentDispatched.type: (
        "truck",
        lambda data: f"Parcel handed to {data['carrier']}, tracking number {data['trackingNumber']}",
    ),
    OrderShipped.type: (
        "truck",
        lambda data: f"Order shipped, expected {data['estimatedDelivery']}",
    ),
    NotificationQueued.type: ("mail", lambda data: f"Mail written: {data['kind']}"),
    NotificationSent.type: ("mail", lambda data: f"Mail sent: {data['kind']}"),
}


def tell(event_type: str, data: Data) -> tuple[str, str] | None:
    """An icon's name and a sentence for an event that means something to a shop's staff; None for any other."""
    known = _TOLD.get(event_type)
    if known is None:
        return None
    icon, sentence = known
    try:
        return icon, sentence(data)
    except (KeyError, TypeError, ValueError):
        return icon, event_type
