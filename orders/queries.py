"""What orders can tell: plain data in the API's shape, and whether their histories are in order."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, Self
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from eventbus import invariant
from eventbus.archive import events_of, first_id_at
from orders.currencies import in_currency
from orders.events import OrderCancelled, OrderConfirmed, OrderCreated, OrderRejected, OrderShipped
from orders.models import MOVES, Order, Status

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: How far an order's id and its `created_at` may lie apart. Both are drawn within a request, by the same machine.
ID_SLACK = timedelta(minutes=1)


def overdue(orders: QuerySet[Order], now: datetime) -> QuerySet[Order]:
    """Those that nothing has answered within settings.ORDER_DEADLINE. An index finds them: ids begin with the time."""
    return orders.filter(status=Status.CREATED, id__lt=first_id_at(now - settings.ORDER_DEADLINE))


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
    """An order in the API's shape."""
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
        "totalAmount": in_currency(order.total_amount, order.currency),
        "currency": order.currency,
        "createdAt": order.created_at,
        "updatedAt": order.updated_at,
    }


class HistoryGone(Exception):
    """The archive no longer has the events that would tell."""


def as_of(order: Order, moment: datetime) -> dict[str, Any] | None:
    """An order as it was after all that its events tell up to this moment; None before it was created.

    Nothing but its status ever changes, so the rest is as the row has it. Raises HistoryGone.
    """
    if moment < order.created_at:
        return None
    happened = list(takewhile(lambda told: told[0] <= moment, _told_of(order)))
    if not happened:
        raise HistoryGone(f"The archive no longer has what happened to order {order.id} by then.")
    when, status = happened[-1]
    return as_data(order) | {"status": status, "updatedAt": when}


def _told_of(order: Order) -> list[tuple[datetime, Status]]:
    """Which status the order's events give it, and since when."""
    told = [
        (datetime.fromisoformat(event["occurredAt"]), STATUS_BY_EVENT[event["eventType"]])
        for event in events_of(order.id)
        if event["eventType"] in STATUS_BY_EVENT
    ]
    # Orders of before the two were the same moment have a creation that occurred a little after it.
    return [(order.created_at, status) if status == Status.CREATED else (at, status) for at, status in told]


def orders_of(channel_id: int | None) -> QuerySet[Order]:
    """A channel's orders with their lines; everyone's for None."""
    orders = Order.objects.prefetch_related("items")
    return orders if channel_id is None else orders.filter(channel_id=channel_id)


def page_of(
    orders: QuerySet[Order],
    *,
    limit: int,
    cursor: Cursor | None = None,
    status: Status | None = None,
    customer_id: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
) -> Page:
    """A page, newest first, of those that match; `created_to` itself is outside."""
    wanted: dict[str, Any] = {"status": status, "customer_id": customer_id}
    orders = orders.filter(**{field: value for field, value in wanted.items() if value is not None})
    # Ids begin with the time, and the lists' indexes end with the id: bounds on it keep a page of long ago fast.
    if created_from is not None:
        created_from = max(created_from, EPOCH)
        orders = orders.filter(created_at__gte=created_from, id__gte=first_id_at(max(created_from - ID_SLACK, EPOCH)))
    if created_to is not None:
        created_to = min(max(created_to, EPOCH), datetime.now(UTC) + ID_SLACK)
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


#: What an event says about its order's status.
STATUS_BY_EVENT = {
    OrderCreated.type: Status.CREATED,
    OrderConfirmed.type: Status.CONFIRMED,
    OrderRejected.type: Status.REJECTED,
    OrderCancelled.type: Status.CANCELLED,
    OrderShipped.type: Status.SHIPPED,
}
# Compared inside the database: the archive is too large to be read out. Of an order whose first events left it
# (`stream_cut`), only what the rest tells can be wrong.
_ILLEGAL = """
WITH said AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS t(type, status)),
legal AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS t(before, after)),
step AS (
    SELECT aggregate_id, event.sequence, cut.sequence IS NOT NULL AS is_cut, status AS after,
           coalesce(lag(status) OVER (PARTITION BY aggregate_id ORDER BY event.sequence), '') AS before
    FROM event JOIN said USING (type) LEFT JOIN stream_cut cut USING (aggregate_type, aggregate_id)
    WHERE aggregate_type = 'order' AND event.sequence > coalesce(cut.sequence, 0)
)
SELECT aggregate_id, sequence, before, after FROM step
WHERE NOT (is_cut AND before = '')
  AND (NOT EXISTS (SELECT FROM legal WHERE legal.before = step.before AND legal.after = step.after)
       OR (before = '' AND sequence <> 1))
ORDER BY aggregate_id, sequence LIMIT 1000
"""
_ASTRAY = """
WITH said AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS t(type, status)),
told AS (
    SELECT DISTINCT ON (aggregate_id) aggregate_id, status,
           count(*) FILTER (WHERE type = 'order.created') OVER (PARTITION BY aggregate_id) AS created
    FROM event JOIN said USING (type) WHERE aggregate_type = 'order' ORDER BY aggregate_id, sequence DESC
)
SELECT coalesce(o.id::text, told.aggregate_id), o.status, told.status, coalesce(created, 0)
FROM orders_order o FULL JOIN told ON told.aggregate_id = o.id::text
LEFT JOIN stream_cut cut ON cut.aggregate_type = 'order' AND cut.aggregate_id = coalesce(told.aggregate_id, o.id::text)
WHERE CASE WHEN cut.sequence IS NULL THEN o.status IS DISTINCT FROM told.status OR created <> 1
           ELSE o.id IS NULL OR o.status <> told.status OR created > 1 END
ORDER BY 1 LIMIT 1000
"""


@invariant("I6", "no order moved in a way that is not legal")
def illegal_histories() -> list[str]:
    """I6: where an order's events tell of a move that MOVES does not allow, or do not begin with its creation."""
    legal = [("", Status.CREATED)] + [(before, after) for before, moves in MOVES.items() for after in moves]
    rows = _rows(_ILLEGAL, [*_columns(STATUS_BY_EVENT.items()), *_columns(legal)])
    return [
        f"order {order_id}: event {place} moves it from {old or 'nothing'} to {new}"
        for order_id, place, old, new in rows
    ]


@invariant("I1", "every order was created once, and its status is what its events tell")
def orders_without_event() -> list[str]:
    """I1: orders without exactly one order.created, events without order, and states that the events don't tell."""
    return [
        f"order {order_id} is {status or 'missing'}; its events say {told or 'nothing'} and create it {created} times"
        for order_id, status, told, created in _rows(_ASTRAY, _columns(STATUS_BY_EVENT.items()))
    ]


def _columns(pairs: Any) -> list[list[str]]:
    return [[str(value) for value in column] for column in zip(*pairs, strict=True)]


def _rows(sql: str, params: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
