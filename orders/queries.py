"""Reads of orders, as plain data in the API's shape."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast, JSONObject

from eventbus import Event, database_time
from eventbus.archive import as_of as events_as_of
from eventbus.archive import events_of_correlation, first_id_at, under_way
from orders.currencies import in_currency
from orders.events import OrderCancelled, OrderConfirmed, OrderCreated, OrderRejected, OrderShipped
from orders.models import MOVES, Order, OrderAdjustment, Status

#: Which status an order has after each of its events that give it one.
STATUS_AFTER: dict[type[Event], Status] = {
    OrderCreated: Status.CREATED,
    OrderConfirmed: Status.CONFIRMED,
    OrderRejected: Status.REJECTED,
    OrderCancelled: Status.CANCELLED,
    OrderShipped: Status.SHIPPED,
}
_STATUS_BY_TYPE = {contract.type: status for contract, status in STATUS_AFTER.items()}
#: Who decides what becomes of an order. By name, as other apps' consumers are their own.
INVENTORY = "inventory.reserve_stock"
#: Who has to handle something until the order has its answer.
ANSWERING = (INVENTORY, "orders.confirm", "orders.reject")
_ADJUSTMENTS = "told_adjustments"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: How far an order's id and its `created_at` may lie apart. Both are drawn within a request, by the same clock.
ID_SLACK = timedelta(minutes=1)


def overdue(orders: QuerySet[Order], now: datetime) -> QuerySet[Order]:
    """Those that nothing has answered within settings.ORDER_DEADLINE. An index finds them: ids begin with the time."""
    began = now - settings.ORDER_DEADLINE
    # The time in an id is that of whoever made it, which may not have known yet that its clock is wrong.
    return orders.filter(status=Status.CREATED, id__lt=first_id_at(began + ID_SLACK), created_at__lt=began)


def given_up(now: datetime) -> list[UUID]:
    """Overdue orders that could have been answered within settings.ORDER_DEADLINE and were not, by id.

    An order whose event is not published, or that a consumer has not come to, because it is down or far behind, is not
    to blame: the deadline counts the time in which it could have been answered.
    """
    late = list(overdue(Order.objects.all(), now).order_by("id").values_list("pk", flat=True))
    waiting = under_way(late, to=ANSWERING, by=now - settings.ORDER_DEADLINE) if late else set()
    return [order_id for order_id in late if str(order_id) not in waiting]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: after this order (older ones), or before it (newer ones)."""

    order_id: UUID
    newer: bool = False

    def __str__(self) -> str:
        return urlsafe_b64encode((b"<" if self.newer else b">") + self.order_id.bytes).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The cursor that str() made. Raises ValueError for any other text."""
        raw = urlsafe_b64decode(text.encode("ascii") + b"=")
        cursor = cls(UUID(bytes=raw[1:]), newer=raw[:1] == b"<")
        if str(cursor) != text:
            raise ValueError("no cursor of ours")
        return cursor


@dataclass(frozen=True, slots=True)
class Page:
    results: list[dict[str, Any]]
    next: Cursor | None
    previous: Cursor | None


def as_data(order: Order) -> dict[str, Any]:
    """An order of `orders_of` in the API's shape."""
    return {
        "orderId": order.id,
        "status": order.status,
        "customerId": order.customer_id,
        "customerEmail": order.customer_email,
        "items": [
            {
                "productId": item.product_id,
                "productName": item.product_name,
                "quantity": item.quantity,
                "unitPrice": in_currency(item.unit_price, order.currency),
            }
            for item in order.items.all()
        ],
        "shippingAddress": order.shipping_address,
        "adjustments": [
            {**each, "amount": in_currency(Decimal(each["amount"]), order.currency)}
            for each in getattr(order, _ADJUSTMENTS)
        ],
        "totalAmount": in_currency(order.total_amount, order.currency),
        "currency": order.currency,
        "createdAt": order.created_at,
        "updatedAt": order.updated_at,
    }


def in_full(order_id: UUID) -> dict[str, Any] | None:
    """An order as staff see it: in the API's shape, and which account placed it, its story, and why it was given up."""
    order = orders_of(None).filter(pk=order_id).first()
    if order is None:
        return None
    return as_data(order) | {
        "channelId": order.channel_id,
        "correlationId": order.correlation_id,
        "cancelReason": order.cancel_reason,
        "timedOutAt": order.timed_out_at,
        "isOverdue": order.status == Status.CREATED and order.created_at < database_time() - settings.ORDER_DEADLINE,
        "mayBecome": sorted(MOVES.get(Status(order.status), ())),
    }


#: So many digits of an id are enough to look for.
_PREFIX = re.compile(r"[0-9a-f]{6,32}")


def find(text: str, *, limit: int) -> list[dict[str, Any]]:
    """The newest orders that this may mean: by id, the beginning of one (six digits or more, and after an ellipsis its
    end), e-mail address or customer."""
    begin, _, end = text.lower().replace("-", "").partition("…")
    meant = [Q(customer_id=text), Q(customer_email__iexact=text)]
    if _PREFIX.fullmatch(begin):
        meant.append(Q(id__range=(UUID(begin.ljust(32, "0")), UUID(begin.ljust(32, "f")))))
    # Each by its own index: of an OR the planner may make a walk through all orders.
    few = 1_000 if end else limit
    columns = ("id", "status", "customer_id", "total_amount", "currency", "created_at")
    first, *others = (Order.objects.filter(each).order_by("-id").values(*columns)[:few] for each in meant)
    rows: Any = first.union(*others).order_by("-id")[:few]
    return [_found(row) for row in rows if row["id"].hex.endswith(end)][:limit]


def _found(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "orderId": row["id"],
        "status": row["status"],
        "customerId": row["customer_id"],
        "totalAmount": in_currency(row["total_amount"], row["currency"]),
        "currency": row["currency"],
        "createdAt": row["created_at"],
    }


def count_overdue(*, limit: int) -> int:
    """How many orders nothing has answered in time, counted no further than the limit."""
    return overdue(Order.objects.all(), database_time()).order_by().values("pk")[:limit].count()


class HistoryGone(Exception):
    """The archive no longer has the events that would tell."""


def as_of(order: Order, moment: datetime) -> dict[str, Any] | None:
    """An order as it was after all that its events tell up to this moment; None before it was created.

    Nothing but its status ever changes, so the rest is as the row has it. Raises HistoryGone.
    """
    if moment < order.created_at:
        return None
    happened = events_as_of(order.id, STATUS_AFTER, moment)
    if not happened:
        raise HistoryGone(f"The archive no longer has what happened to order {order.id} by then.")
    last = happened[-1]
    status, since = _STATUS_BY_TYPE[last["eventType"]], datetime.fromisoformat(last["occurredAt"])
    return as_data(order) | {"status": status, "updatedAt": since}


def orders_of(channel_id: int | None) -> QuerySet[Order]:
    """A channel's orders with their lines and adjustments; everyone's for None."""
    # Few orders have any: not worth a statement of their own.
    adjustments = OrderAdjustment.objects.filter(order=OuterRef("pk")).order_by("line")
    told = ArraySubquery(
        adjustments.values(told=JSONObject(kind="kind", label="label", amount=Cast("amount", TextField())))
    )
    orders = Order.objects.prefetch_related("items").annotate(**{_ADJUSTMENTS: told})
    return orders if channel_id is None else orders.filter(channel_id=channel_id)


# The primary key finds it: what is asked of here is an order's event, so its id is one.
_OWN = "EXISTS (SELECT FROM orders_order o WHERE o.id = e.aggregate_id::uuid AND o.channel_id = %s)"


def events_of_action(channel_id: int | None, correlation_id: str, *, after: UUID, limit: int) -> list[dict[str, Any]]:
    """What one action caused, as far as it happened to this channel's orders; to everyone's for None. Oldest first,
    behind the event `after`."""
    own, params = ("true", []) if channel_id is None else (_OWN, [channel_id])
    return events_of_correlation(correlation_id, OrderCreated, own=own, params=params, after=after, limit=limit)


def page_of(
    orders: QuerySet[Order],
    *,
    limit: int,
    cursor: Cursor | None = None,
    status: Status | None = None,
    customer_id: str | None = None,
    customer_email: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
) -> Page:
    """A page, newest first, of those that match; `created_to` itself is outside."""
    wanted: dict[str, Any] = {"status": status, "customer_id": customer_id, "customer_email__iexact": customer_email}
    orders = orders.filter(**{field: value for field, value in wanted.items() if value is not None})
    # Ids begin with the time, and the lists' indexes end with the id: bounds on it keep a page of long ago fast.
    if created_from is not None:
        created_from = max(created_from, EPOCH)
        orders = orders.filter(created_at__gte=created_from, id__gte=first_id_at(max(created_from - ID_SLACK, EPOCH)))
    if created_to is not None:
        created_to = min(max(created_to, EPOCH), database_time() + ID_SLACK)
        orders = orders.filter(created_at__lt=created_to, id__lt=first_id_at(created_to + ID_SLACK))
    return _cut(orders, limit, cursor)


def _cut(orders: QuerySet[Order], limit: int, cursor: Cursor | None) -> Page:
    newer = cursor is not None and cursor.newer
    if cursor is not None:
        orders = orders.filter(id__gt=cursor.order_id) if newer else orders.filter(id__lt=cursor.order_id)
    found = list(orders.order_by("id" if newer else "-id")[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if newer:
        found.reverse()
    older_side = Cursor(found[-1].id) if found and (newer or more) else None
    newer_side = Cursor(found[0].id, newer=True) if found and (more if newer else cursor is not None) else None
    return Page([as_data(order) for order in found], next=older_side, previous=newer_side)
