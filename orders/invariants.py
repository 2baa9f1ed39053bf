"""Whether the orders are what their events say."""

import re
from collections.abc import Collection
from typing import Any

from django.db import connection

from eventbus import evidence, invariant
from eventbus.archive import archived, cut_streams
from orders.events import OrderCreated
from orders.models import MOVES, Order, Status
from orders.queries import STATUS_AFTER

#: An order's id: in its address, or alone at the beginning of a line.
ORDER_ID = re.compile(r"(?:^\s*|/orders/)([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b", re.I)
SAID = [(contract.type, status) for contract, status in STATUS_AFTER.items()]
# Compared inside the database: the archive is too large to be read out. Of an order whose first events left it, only
# what the rest tells can be wrong.
_ILLEGAL = f"""
WITH said AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS t(type, status)),
legal AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS t(before, after)),
step AS (
    SELECT aggregate_id, move.sequence, cut.sequence IS NOT NULL AS is_cut, status AS after,
           coalesce(lag(status) OVER (PARTITION BY aggregate_id ORDER BY move.sequence), '') AS before
    FROM {archived(*STATUS_AFTER)} AS move JOIN said USING (type)
    LEFT JOIN {cut_streams(OrderCreated)} AS cut USING (aggregate_id)
    WHERE move.sequence > coalesce(cut.sequence, 0)
)
SELECT aggregate_id, sequence, before, after FROM step
WHERE NOT (is_cut AND before = '')
  AND (NOT EXISTS (SELECT FROM legal WHERE legal.before = step.before AND legal.after = step.after)
       OR (before = '' AND sequence <> 1))
ORDER BY aggregate_id, sequence LIMIT 1000
"""
_ASTRAY = f"""
WITH said AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS t(type, status)),
told AS (
    SELECT DISTINCT ON (aggregate_id) aggregate_id, status,
           count(*) FILTER (WHERE type = '{OrderCreated.type}') OVER (PARTITION BY aggregate_id) AS created
    FROM {archived(*STATUS_AFTER)} AS move JOIN said USING (type) ORDER BY aggregate_id, sequence DESC
)
SELECT coalesce(o.id::text, told.aggregate_id), o.status, told.status, coalesce(created, 0)
FROM orders_order o FULL JOIN told ON told.aggregate_id = o.id::text
LEFT JOIN {cut_streams(OrderCreated)} AS cut ON cut.aggregate_id = coalesce(told.aggregate_id, o.id::text)
WHERE CASE WHEN cut.sequence IS NULL THEN o.status IS DISTINCT FROM told.status OR created <> 1
           ELSE o.id IS NULL OR o.status <> told.status OR created > 1 END
ORDER BY 1 LIMIT 1000
"""


@invariant("I6", "no order moved in a way that is not legal")
def illegal_histories() -> list[str]:
    """I6: where an order's events report a move that MOVES does not allow, or do not begin with its creation."""
    legal = [("", Status.CREATED)] + [(before, after) for before, moves in MOVES.items() for after in moves]
    rows = _rows(_ILLEGAL, [*_columns(SAID), *_columns(legal)])
    return [
        f"order {order_id}: event {place} moves it from {old or 'nothing'} to {new}"
        for order_id, place, old, new in rows
    ]


@invariant("I1", "every order was created once, and its status is what its events tell")
def orders_without_event() -> list[str]:
    """I1: orders without exactly one order.created, events without order, and states that the events don't tell."""
    return [
        f"order {order_id} is {status or 'missing'}; its events say {told or 'nothing'} and create it {created} times"
        for order_id, status, told, created in _rows(_ASTRAY, _columns(SAID))
    ]


@evidence("orders that were answered with 201", ORDER_ID)
def forgotten_orders(order_ids: Collection[str]) -> Collection[str]:
    """Orders of a channel's own list, an id a line, or of a gateway's log, that are not there."""
    known = {str(order_id) for order_id in Order.objects.filter(pk__in=order_ids).values_list("pk", flat=True)}
    return {order_id.lower() for order_id in order_ids} - known


def _columns(pairs: Any) -> list[list[str]]:
    return [[str(value) for value in column] for column in zip(*pairs, strict=True)]


def _rows(sql: str, params: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
