"""The baselines' tasks: what one writes with Celery and the ORM alone."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from inventory.models import Reservation, ReservationState, Stock
from orders.models import Order, OrderItem, Status
from tools.benchmarks.models import PlainInbox, Tally
from tools.benchmarks.plain import CONFIRM, RESERVE, TALLY, app


@app.task(name=TALLY)
def tally(event: dict[str, Any]) -> None:
    """Exactly once by hand: an inbox row and the effect in one transaction."""
    with transaction.atomic():
        _, new = PlainInbox.objects.get_or_create(event_id=event["eventId"], consumer=TALLY)
        if new:
            total = Decimal(str(event["data"]["totalAmount"]))
            Tally.objects.create(event_id=event["eventId"], order_id=event["data"]["orderId"], total_amount=total)


@app.task(name=RESERVE)
def reserve(order_id: str) -> None:
    """Reserve every line, then send the next task. A crash in between leaves the order where it is for ever."""
    with transaction.atomic():
        wanted = dict(OrderItem.objects.filter(order_id=order_id).values_list("product_id", "quantity"))
        set_aside(UUID(order_id), wanted)
        transaction.on_commit(lambda: confirm.delay(order_id))


@app.task(name=CONFIRM)
def confirm(order_id: str) -> None:
    """The last step."""
    with transaction.atomic():
        mark_confirmed(UUID(order_id))


def set_aside(order_id: UUID, wanted: Mapping[str, int]) -> None:
    """Reserve so much of each product. In a transaction."""
    for stock in Stock.objects.select_for_update().filter(pk__in=wanted).order_by("pk"):
        quantity = wanted[stock.pk]
        if stock.available < quantity:
            raise ValueError(f"Too little of {stock.pk}: the benchmark's shelves are to be full.")
        Stock.objects.filter(pk=stock.pk).update(available=F("available") - quantity, reserved=F("reserved") + quantity)
    Reservation.objects.bulk_create(
        Reservation(order_id=order_id, product_id=product, quantity=quantity, state=ReservationState.RESERVED)
        for product, quantity in wanted.items()
    )


def mark_confirmed(order_id: UUID) -> datetime:
    """Confirm the order; returns when. In a transaction."""
    order = Order.objects.select_for_update().get(pk=order_id)
    order.status, order.updated_at = Status.CONFIRMED, timezone.now()
    order.save(update_fields=["status", "updated_at"])
    return order.updated_at
