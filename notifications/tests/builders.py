"""Events and mails for tests. Ids are fresh: the archive keeps what tests with real commits leave in it."""

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from eventbus.testing import ArchivedEvent, deliver
from notifications.consumers import queue_confirmation
from notifications.events import NotificationQueued, NotificationSent
from notifications.models import Mail
from orders.events import CancelledBy, Item, OrderCancelled, OrderConfirmed, OrderRejected, OrderShipped, Shortage

ITEMS = (
    Item(product_id="cup", product_name="Cup", quantity=2, unit_price=Decimal("4.50")),
    Item(product_id="vase", product_name="Vase", quantity=1, unit_price=Decimal("1290")),
)


def order_confirmed(**fields: Any) -> OrderConfirmed:
    """A confirmed order, as orders announces it."""
    return OrderConfirmed(**(_order() | fields))


def order_rejected(**fields: Any) -> OrderRejected:
    """An order that was rejected for want of a vase."""
    shortages = (Shortage(product_id="vase", requested=1, available=0),)
    return OrderRejected(**(_order() | {"reason": "insufficient_stock", "shortages": shortages} | fields))


def order_shipped(**fields: Any) -> OrderShipped:
    """An order that is on its way, as orders announces it."""
    how = {"carrier": "Fast Parcel", "tracking_number": "FP-1", "estimated_delivery": date(2026, 12, 1)}
    return OrderShipped(**(_order() | how | fields))


def order_cancelled(**fields: Any) -> OrderCancelled:
    """An order that its customer called off, as orders announces it."""
    return OrderCancelled(**(_order() | {"reason": "found it cheaper", "cancelled_by": CancelledBy.CUSTOMER} | fields))


def _order() -> dict[str, Any]:
    return {
        "order_id": uuid4(),
        "customer_id": "c-1",
        "customer_email": "ada@customer.example",
        "items": ITEMS,
        "total_amount": Decimal("1299.00"),
        "currency": "USD",
    }


def queued_mail(**fields: Any) -> tuple[Mail, NotificationQueued]:
    """A confirmation that waits to be sent, and the event that says so."""
    order = order_confirmed(**fields)
    deliver(order, to=queue_confirmation)
    mail = Mail.objects.get(order_id=order.order_id)
    return mail, NotificationQueued(mail_id=mail.pk, order_id=mail.order_id, kind=mail.kind)


def times_announced(mail_id: UUID) -> int:
    """How often the archive says that this mail was sent."""
    return ArchivedEvent.objects.filter(type=NotificationSent.type, aggregate_id=str(mail_id)).count()
