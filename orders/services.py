"""The verbs of orders: moving them on, and what surrounds taking them in."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import transaction
from knox.models import AuthToken

from eventbus.contracts import Event
from eventbus.declarations import PermanentFailure
from eventbus.publishing import publish
from orders.currencies import in_currency
from orders.events import Item, OrderConfirmed, OrderRejected, Shortage
from orders.intake import KEY_LIFE
from orders.models import MOVES, IdempotencyKey, Order, Status


class CannotMove(PermanentFailure):
    """There is no such order, or it may not go there from where it is."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an order is rejected, and the event that said so."""

    reason: str
    shortages: Sequence[Shortage] = ()
    caused_by: Event | None = None


def confirm_order(*, order_id: UUID) -> None:
    """Everything of the order is set aside. Does nothing if it is confirmed already; raises CannotMove."""
    confirm_orders({order_id: None})


def reject_order(*, order_id: UUID, reason: str, shortages: Sequence[Shortage] = ()) -> None:
    """The order will not be delivered. Does nothing if it is rejected already; raises CannotMove."""
    reject_orders({order_id: Refusal(reason, shortages)})


def confirm_orders(causes: Mapping[UUID, Event | None]) -> None:
    """confirm_order for many at once, all or none; each with the event that caused it."""
    with transaction.atomic(savepoint=False):
        for order in _move(causes, Status.CONFIRMED):
            publish(OrderConfirmed(**_told(order)), caused_by=causes[order.id])


def reject_orders(refusals: Mapping[UUID, Refusal]) -> None:
    """reject_order for many at once, all or none."""
    with transaction.atomic(savepoint=False):
        for order in _move(refusals, Status.REJECTED):
            refusal = refusals[order.id]
            publish(
                OrderRejected(**_told(order), reason=refusal.reason, shortages=tuple(refusal.shortages)),
                caused_by=refusal.caused_by,
            )


def _move(order_ids: Collection[UUID], to: Status) -> list[Order]:
    """Move those that are not there yet, and return them with their lines."""
    # Sorted, so that two batches with the same orders cannot deadlock.
    found = Order.objects.select_for_update().filter(pk__in=order_ids).order_by("pk").prefetch_related("items")
    moving = [order for order in found if order.status != to]
    if len(found) < len(order_ids):
        missing = set(order_ids) - {order.pk for order in found}
        raise CannotMove(f"There is no order {', '.join(map(str, missing))}: it cannot become {to}.")
    for order in moving:
        if to not in MOVES.get(Status(order.status), ()):
            raise CannotMove(f"Order {order.pk} is {order.status}: it cannot become {to}.")
    if moving:
        Order.objects.filter(pk__in=[order.pk for order in moving]).update(status=to, updated_at=datetime.now(UTC))
    return moving


def _told(order: Order) -> dict[str, Any]:
    """What both outcomes tell of an order: enough to write a mail without asking back."""
    return {
        "order_id": order.id,
        "customer_id": order.customer_id,
        "customer_email": order.customer_email,
        "items": tuple(
            Item(
                product_id=item.product_id,
                product_name=item.product_name,
                quantity=item.quantity,
                unit_price=in_currency(item.unit_price, order.currency),
            )
            for item in order.items.all()
        ),
        "total_amount": in_currency(order.total_amount, order.currency),
        "currency": order.currency,
    }


def forget_old_keys() -> int:
    """Delete the idempotency keys that have expired; returns how many."""
    deleted, _ = IdempotencyKey.objects.filter(created_at__lt=datetime.now(UTC) - KEY_LIFE).delete()
    return deleted


def create_channel(*, name: str, days: int, revoke: bool = False) -> tuple[str, datetime]:
    """A fresh token for a sales channel, and when it expires. The channel is made if there is none of that name.

    Earlier tokens stay until they expire, unless `revoke`. Raises ValueError for the name of a person or a bad name.
    """
    users = get_user_model()
    with transaction.atomic():
        channel = users.objects.filter(username=name).first()
        if channel is None:
            channel = users(username=name)
            channel.set_unusable_password()
            channel.full_clean(exclude=["password"])
            channel.save()
        elif channel.is_staff or channel.is_superuser or channel.has_usable_password():
            raise ValueError(f"{name!r} is the account of a person. Choose another name for the channel.")
        if revoke:
            channel.auth_token_set.all().delete()
        token, secret = AuthToken.objects.create(channel, expiry=timedelta(days=days))
    return secret, token.expiry
