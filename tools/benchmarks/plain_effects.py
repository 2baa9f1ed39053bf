"""The baseline of a whole order: each of its effects is a task, sent after the commit of what causes it.

The effects are the product's own, down to the statements; what is missing is all that the bus promises.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from celery import Task
from django.db import connection, transaction
from django.utils import timezone

from analytics import services as analytics
from analytics.services import Fact, Line
from consumers import fraud
from notifications import rendering
from notifications.models import Kind, Mail, State
from orders.events import OrderCreated, OrderCreatedOne, with_a_customer
from shipping.services import ShipmentParts, prepare_shipments
from tools.benchmarks.plain import EFFECTS, app
from tools.benchmarks.plain_tasks import mark_confirmed, set_aside

Sent = dict[str, Any]


def cause(placed: Sent) -> None:
    """An order was placed: send a task for each thing that follows, once it is committed."""
    at = timezone.now().isoformat()
    _after_commit(reserve, placed)
    _after_commit(prepare_address, placed)
    _after_commit(look_for_fraud, placed)
    for view in VIEWS:
        _after_commit(view, "created", at, placed)


@app.task(name=f"{EFFECTS}.reserve")
def reserve(placed: Sent) -> None:
    order = read(placed)
    with transaction.atomic():
        set_aside(order.order_id, {item.product_id: item.quantity for item in order.items})
        _after_commit(confirm, placed)
        _after_commit(prepare_items, placed)


@app.task(name=f"{EFFECTS}.confirm")
def confirm(placed: Sent) -> None:
    with transaction.atomic():
        confirmed_at = mark_confirmed(UUID(placed["orderId"]))
        _after_commit(write_mail, placed)
        for view in VIEWS:
            _after_commit(view, "confirmed", confirmed_at.isoformat(), placed)


@app.task(name=f"{EFFECTS}.prepare_address")
def prepare_address(placed: Sent) -> None:
    prepare_shipments([ShipmentParts(UUID(placed["orderId"]), address=placed["shippingAddress"])])


@app.task(name=f"{EFFECTS}.prepare_items")
def prepare_items(placed: Sent) -> None:
    prepare_shipments([ShipmentParts(UUID(placed["orderId"]), items=placed["items"])])


@app.task(name=f"{EFFECTS}.look_for_fraud")
def look_for_fraud(placed: Sent) -> None:
    order = read(placed)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(fraud.TAKE_TURNS)
        cursor.execute(fraud.REMEMBER, fraud.columns([fraud.remembered(order)]))
        for query in fraud.LOOKING_BACK.values():
            cursor.execute(query, [[order.order_id]])


@app.task(name=f"{EFFECTS}.write_mail")
def write_mail(placed: Sent) -> None:
    order = read(placed)
    context = rendering.order_context(order.items, order.total_amount, order.currency)
    with transaction.atomic():
        mail = rendering.render_mail(
            Kind.CONFIRMATION, order_id=order.order_id, to=order.customer.email, context=context
        )
        mail.save()
        _after_commit(send_mail, str(mail.pk))


@app.task(name=f"{EFFECTS}.send_mail")
def send_mail(mail_id: str) -> None:
    mail = Mail.objects.get(pk=mail_id)
    rendering.as_message(mail).send()
    Mail.objects.filter(pk=mail_id).update(state=State.SENT, sent_at=timezone.now())


@app.task(name=f"{EFFECTS}.add_to_days")
def add_to_days(kind: str, at: str, placed: Sent) -> None:
    analytics.add_to_days([_fact(kind, at, placed)])


@app.task(name=f"{EFFECTS}.add_to_products")
def add_to_products(kind: str, at: str, placed: Sent) -> None:
    analytics.add_to_products([_fact(kind, at, placed)])


@app.task(name=f"{EFFECTS}.note_order")
def note_order(kind: str, at: str, placed: Sent) -> None:
    analytics.note_orders([_fact(kind, at, placed)])


@app.task(name=f"{EFFECTS}.note_stage")
def note_stage(kind: str, at: str, placed: Sent) -> None:
    analytics.note_stages([_fact(kind, at, placed)])


VIEWS = (add_to_days, add_to_products, note_order, note_stage)


def _after_commit(task: Task[Any, None], *arguments: Any) -> None:
    transaction.on_commit(lambda: task.delay(*arguments))


def read(placed: Sent) -> OrderCreated:
    """What a channel posted, as an event has it."""
    return with_a_customer(OrderCreatedOne.model_validate(placed))


def _fact(kind: str, at: str, placed: Sent) -> Fact:
    order = read(placed)
    return Fact(
        kind=kind,
        at=datetime.fromisoformat(at),
        order_id=order.order_id,
        customer_id=order.customer.id,
        currency=order.currency,
        total=order.total_amount,
        lines=tuple(
            Line(item.product_id, item.product_name, item.quantity, item.quantity * item.unit_price)
            for item in order.items
        ),
    )
