"""The baseline's tasks."""

from collections import Counter
from typing import Any
from uuid import UUID

from django.core.mail import send_mail
from django.db import transaction
from django.db.models import F

from inventory.models import Reservation, ReservationState, Stock
from orders.models import Order, OrderItem, Status
from tools.chaos.plain.app import CONFIRM, REJECT, RESERVE, SEND, app

AGAIN: dict[str, Any] = {"autoretry_for": (Exception,), "max_retries": 5, "retry_backoff": True}


@app.task(name=RESERVE, **AGAIN)
def reserve(order_id: str) -> None:
    """Set aside what the order asks for, all of it or nothing."""
    with transaction.atomic():
        wanted: Counter[str] = Counter()
        for item in OrderItem.objects.filter(order_id=order_id):
            wanted[item.product_id] += item.quantity
        stock = {each.pk: each for each in Stock.objects.select_for_update().filter(pk__in=wanted).order_by("pk")}
        if any(product not in stock or stock[product].available < quantity for product, quantity in wanted.items()):
            transaction.on_commit(lambda: reject.delay(order_id))
            return
        for product, quantity in wanted.items():
            Stock.objects.filter(pk=product).update(
                available=F("available") - quantity, reserved=F("reserved") + quantity
            )
        Reservation.objects.bulk_create(
            Reservation(order_id=order_id, product_id=product, quantity=quantity, state=ReservationState.RESERVED)
            for product, quantity in wanted.items()
        )
        transaction.on_commit(lambda: confirm.delay(order_id))


@app.task(name=CONFIRM, **AGAIN)
def confirm(order_id: str) -> None:
    _end(order_id, Status.CONFIRMED)


@app.task(name=REJECT, **AGAIN)
def reject(order_id: str) -> None:
    _end(order_id, Status.REJECTED)


def _end(order_id: str, status: Status) -> None:
    with transaction.atomic():
        Order.objects.filter(pk=UUID(order_id)).update(status=status)
        transaction.on_commit(lambda: send.delay(order_id))


@app.task(name=SEND, **AGAIN)
def send(order_id: str) -> None:
    """Tell the customer."""
    order = Order.objects.get(pk=order_id)
    if order.status == Status.CONFIRMED:
        subject = f"Your order {order.pk} is confirmed"
    else:
        subject = f"We are sorry: we can't deliver your order {order.pk}"
    send_mail(subject, subject, None, [order.customer_email])
