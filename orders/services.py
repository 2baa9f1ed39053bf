"""The verbs of orders: moving them on. `orders.intake` takes them in."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from eventbus import Event, PermanentFailure, correlated_with, database_time, lock_streams, publish, single_statement
from orders import queries
from orders.currencies import in_currency
from orders.events import (
    Adjustment,
    CancelledBy,
    Item,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    OrderRejected,
    OrderShipped,
    OrderStatusChanged,
    Shortage,
)
from orders.models import MOVES, SETTLED, Order, OrderAdjustment, OrderItem, Status
from shipping.events import ShipmentDispatched

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = structlog.get_logger(__name__)

TIMED_OUT = "timed out"
OVERDUE_BATCH = 200


class UnknownChannel(PermanentFailure):
    """The account that placed this order is not there."""


class CannotMove(PermanentFailure):
    """There is no such order, or it may not go there from where it is."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an order is rejected, and the event that said so."""

    reason: str
    shortages: Sequence[Shortage] = ()
    caused_by: Event | None = None


@dataclass(frozen=True, slots=True)
class Dispatch:
    """How an order travels, and the event that said so."""

    carrier: str
    tracking_number: str
    estimated_delivery: date
    caused_by: Event | None = None


def confirm_order(*, order_id: UUID) -> None:
    """Everything of the order is set aside. Does nothing if it is confirmed already or cancelled; raises CannotMove."""
    confirm_orders({order_id: None})


def reject_order(*, order_id: UUID, reason: str, shortages: Sequence[Shortage] = ()) -> None:
    """The order will not be delivered. Does nothing if it is rejected already or cancelled; raises CannotMove."""
    reject_orders({order_id: Refusal(reason, shortages)})


def confirm_orders(causes: Mapping[UUID, Event | None]) -> None:
    """confirm_order for many at once, all or none; each with the event that caused it."""
    with transaction.atomic(savepoint=False):
        for told, at in _move(causes, Status.CONFIRMED):
            _announce(OrderConfirmed(**told), at, caused_by=causes[told["order_id"]])


def reject_orders(refusals: Mapping[UUID, Refusal]) -> None:
    """reject_order for many at once, all or none."""
    with transaction.atomic(savepoint=False):
        for told, at in _move(refusals, Status.REJECTED):
            refusal = refusals[told["order_id"]]
            event = OrderRejected(**told, reason=refusal.reason, shortages=tuple(refusal.shortages))
            _announce(event, at, caused_by=refusal.caused_by)


def ship_orders(dispatches: Mapping[UUID, Dispatch]) -> None:
    """The orders are on their way. Does nothing for those that are already; all or none; raises CannotMove."""
    with transaction.atomic(savepoint=False):
        # Only what is set aside is dispatched, but that event may come after this one.
        confirm_orders({order_id: dispatch.caused_by for order_id, dispatch in dispatches.items()})
        for told, at in _move(dispatches, Status.SHIPPED):
            dispatch = dispatches[told["order_id"]]
            shipped = OrderShipped(
                **told,
                carrier=dispatch.carrier,
                tracking_number=dispatch.tracking_number,
                estimated_delivery=dispatch.estimated_delivery,
            )
            _announce(shipped, at, caused_by=dispatch.caused_by)


def cancel_order(*, order_id: UUID, reason: str, by: CancelledBy = CancelledBy.CUSTOMER) -> None:
    """Call an order off: when this returns it will never be delivered. Does nothing if it is cancelled already.

    Raises CannotMove for one that is rejected, shipped, or has left the house and will be SHIPPED in a moment.
    """
    with transaction.atomic():
        for told, at in _move([order_id], Status.CANCELLED, reason):
            # After it nothing is cancelled. See docs/decisions/0008.
            if lock_streams([order_id], having=ShipmentDispatched):
                raise CannotMove(f"Order {order_id} has been dispatched: it cannot become {Status.CANCELLED}.")
            _announce(OrderCancelled(**told, reason=reason, cancelled_by=by), at)


def cancel_overdue(*, now: datetime) -> int:
    """Log and cancel the orders that were not answered though they could have been, within settings.ORDER_DEADLINE;
    returns how many.

    What could not be answered waits. What someone else is moving at this moment, and what is on its way to the
    customer, is left alone.
    """
    silent, cancelled = queries.given_up(now), 0
    for first in range(0, len(silent), OVERDUE_BATCH):
        with transaction.atomic(), single_statement():
            cancelled += _give_up(_lock_created(silent[first : first + OVERDUE_BATCH]), now)
    return cancelled


def _lock_created(order_ids: Sequence[UUID]) -> list[Order]:
    """Those of the orders that nothing has moved meanwhile, and nobody is moving now."""
    found = Order.objects.filter(pk__in=order_ids, status=Status.CREATED).select_for_update(skip_locked=True)
    return list(found.order_by("id"))


def _give_up(orders: Sequence[Order], now: datetime) -> int:
    away = lock_streams([order.pk for order in orders], having=ShipmentDispatched)
    given_up = {order.pk: order for order in orders if str(order.pk) not in away}
    Order.objects.filter(pk__in=given_up).update(timed_out_at=now)
    for told, at in _move(given_up, Status.CANCELLED, TIMED_OUT):
        order = given_up[told["order_id"]]
        # Nobody acts here: the cancellation belongs to the story of the request that placed the order.
        with correlated_with(order.correlation_id, order_id=str(order.pk)):
            log.error("order.stuck", age_seconds=int((now - order.created_at).total_seconds()))
            _announce(OrderCancelled(**told, reason=TIMED_OUT, cancelled_by=CancelledBy.DEADLINE), at)
    return len(given_up)


def take_back_order(event: OrderCreated) -> None:
    """Store a forgotten order for the account that placed it. For `reconcile`. Raises UnknownChannel."""
    number = event.envelope.metadata.user_id or ""
    channel = get_user_model().objects.filter(pk=int(number)).first() if number.isdecimal() else None
    if channel is None:
        raise UnknownChannel(f"No account has the number {event.envelope.metadata.user_id}, which placed it.")
    store_as_told(event, channel)


def store_as_told(event: OrderCreated, channel: "User") -> None:
    """Store an order as its event has it, where the database has only the event. Publishes nothing."""
    order = Order.objects.create(
        id=event.order_id,
        channel=channel,
        customer_id=event.customer.id,
        customer_email=event.customer.email,
        shipping_address=event.shipping_address.model_dump(by_alias=True),
        total_amount=event.total_amount,
        currency=event.currency,
        correlation_id=event.envelope.metadata.correlation_id,
        created_at=event.created_at,
        updated_at=event.created_at,
    )
    OrderItem.objects.bulk_create(
        OrderItem(order=order, line=line, **item.model_dump()) for line, item in enumerate(event.items, 1)
    )
    OrderAdjustment.objects.bulk_create(
        OrderAdjustment(order=order, line=line, **each.model_dump()) for line, each in enumerate(event.adjustments, 1)
    )


def _announce(
    moved: OrderConfirmed | OrderRejected | OrderCancelled | OrderShipped,
    at: datetime,
    *,
    caused_by: Event | None = None,
) -> None:
    """Publish where an order went: in full, and thin for those who will ask. One statement records both."""
    publish(moved, OrderStatusChanged(order_id=moved.order_id), caused_by=caused_by, at=at)


# By hand, because half the orders of a busy day are in flight here: through the ORM a batch costs three times as much.
# Sorted, so that two batches with the same orders cannot deadlock.
_LOCK = """
SELECT updated_at, id, status, customer_id, customer_email, total_amount, currency, (
    SELECT json_agg(json_build_array(product_id, product_name, quantity, unit_price) ORDER BY line)::text
    FROM orders_orderitem WHERE order_id = orders_order.id), (
    SELECT json_agg(json_build_array(kind, label, amount) ORDER BY line)::text
    FROM orders_orderadjustment WHERE order_id = orders_order.id)
FROM orders_order WHERE id = ANY(%s) ORDER BY id FOR UPDATE
"""
_MOVE = "UPDATE orders_order SET status = %s, cancel_reason = %s, updated_at = %s WHERE id = ANY(%s)"


def _move(order_ids: Collection[UUID], to: Status, cancel_reason: str = "") -> list[tuple[dict[str, Any], datetime]]:
    """Move those that still have to go there; returns what the event of each says about it, and when it happened."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [list(order_ids)])
        found = cursor.fetchall()
        if len(found) < len(order_ids):
            missing = set(order_ids) - {order_id for _, order_id, *_ in found}
            raise CannotMove(f"There is no order {', '.join(map(str, missing))}: it cannot become {to}.")
        moving = [row for row in found if Status(row[2]) not in SETTLED[to]]
        for _, order_id, status, *_ in moving:
            if to not in MOVES.get(Status(status), ()):
                raise CannotMove(f"Order {order_id} is {status}: it cannot become {to}.")
        # Whatever clocks say, nothing happens before what led to it.
        now = max([database_time(), *(updated_at for updated_at, *_ in moving)])
        if moving:
            moved = [order_id for _, order_id, *_ in moving]
            cursor.execute(_MOVE, [to.value, cancel_reason, now, moved])
    return [(_told(*told), now) for _, *told in moving]


def _told(
    order_id: UUID,
    status: str,
    customer_id: str,
    customer_email: str,
    total: Decimal,
    currency: str,
    items: str,
    adjustments: str | None,
) -> dict[str, Any]:
    """What every outcome says about an order: enough to write a mail without asking back."""
    return {
        "order_id": order_id,
        "customer_id": customer_id,
        "customer_email": customer_email,
        "items": [
            Item(product_id=product_id, product_name=name, quantity=quantity, unit_price=in_currency(price, currency))
            for product_id, name, quantity, price in json.loads(items, parse_float=Decimal)
        ],
        "adjustments": [
            Adjustment(kind=kind, label=label, amount=in_currency(amount, currency))
            for kind, label, amount in json.loads(adjustments or "[]", parse_float=Decimal)
        ],
        "total_amount": in_currency(total, currency),
        "currency": currency,
    }
