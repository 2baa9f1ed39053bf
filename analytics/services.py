"""The verbs of analytics: adding facts to the read models. For handlers, in the bus's transaction.

A batch is one statement, however many facts it has. Rows are sorted, so that two batches can't deadlock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from analytics.days import day_of
from analytics.models import KINDS
from analytics.queries import OF_A_DAY
from eventbus import encode_json


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an order; `amount` is quantity times price."""

    product_id: str
    product_name: str
    quantity: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened to an order, `kind` being one of KINDS.

    `total` is what the customer pays; `tax` and `charges` (shipping, fees, rounding) are parts of it.
    """

    kind: str
    at: datetime
    order_id: UUID
    customer_id: str
    currency: str
    total: Decimal
    lines: tuple[Line, ...]
    tax: Decimal = Decimal(0)
    charges: Decimal = Decimal(0)

    @property
    def sales(self) -> Decimal:
        """What the goods brought, less the discounts."""
        return self.total - self.tax - self.charges

    @property
    def day(self) -> str:
        return day_of(self.at).isoformat()


def _adding(table: str, key: dict[str, str], counted: Sequence[str], newest: str = "") -> str:
    """The statement that adds to a table's columns of each kind: `created_amount`, `created_orders` …"""
    added = {f"{kind}_{what}": "numeric" for kind in KINDS for what in counted}
    typed = ", ".join(f"{name} {kind}" for name, kind in (key | added).items())
    sums = ", ".join(f"{name} = known.{name} + EXCLUDED.{name}" for name in added)
    columns = ", ".join(key | added)
    return f"""
    INSERT INTO {table} AS known ({columns})
    SELECT {columns} FROM json_to_recordset(%s::json) AS t({typed}) ORDER BY id
    ON CONFLICT (id) DO UPDATE SET {sums}{newest}
    """


OF_A_PRODUCT = ("quantity", "amount")
ADD_TO_DAYS = _adding("analytics_salesbyday", {"id": "text", "day": "date", "currency": "text"}, OF_A_DAY)
# Names are compared where two orders came at the same moment: which of them was handled first must not matter.
_NEWER = "(EXCLUDED.named_at, EXCLUDED.product_name) > (known.named_at, known.product_name)"
ADD_TO_PRODUCTS = _adding(
    "analytics_salesbyproduct",
    {
        "id": "text",
        "day": "date",
        "currency": "text",
        "product_id": "text",
        "product_name": "text",
        "named_at": "timestamptz",
    },
    OF_A_PRODUCT,
    f""", product_name = CASE WHEN {_NEWER} THEN EXCLUDED.product_name ELSE known.product_name END,
        named_at = greatest(known.named_at, EXCLUDED.named_at)""",
)
_RANKED = f"ARRAY[{', '.join(repr(kind.upper()) for kind in KINDS)}]"
_LATER = f"array_position({_RANKED}, EXCLUDED.status) > array_position({_RANKED}, known.status)"
NOTE_ORDERS = f"""
INSERT INTO analytics_customerorder AS known
    (order_id, customer_id, status, status_at, created_at, pieces, total_amount, currency)
SELECT order_id, customer_id, status, status_at, created_at, pieces, total_amount, currency
FROM json_to_recordset(%s::json) AS t(order_id uuid, customer_id text, status text, status_at timestamptz,
                                      created_at timestamptz, pieces bigint, total_amount numeric, currency text)
ORDER BY order_id
ON CONFLICT (order_id) DO UPDATE SET
    status = CASE WHEN {_LATER} THEN EXCLUDED.status ELSE known.status END,
    status_at = CASE WHEN {_LATER} THEN EXCLUDED.status_at ELSE known.status_at END,
    created_at = coalesce(known.created_at, EXCLUDED.created_at)
"""
NOTE_STAGES = """
INSERT INTO analytics_fulfilment AS known (order_id, created_at, confirmed_at, shipped_at)
SELECT order_id, created, confirmed, shipped FROM json_to_recordset(%s::json)
    AS t(order_id uuid, created timestamptz, confirmed timestamptz, shipped timestamptz)
ORDER BY order_id
ON CONFLICT (order_id) DO UPDATE SET created_at = coalesce(known.created_at, EXCLUDED.created_at),
    confirmed_at = coalesce(known.confirmed_at, EXCLUDED.confirmed_at),
    shipped_at = coalesce(known.shipped_at, EXCLUDED.shipped_at)
"""


def add_to_days(facts: Sequence[Fact]) -> None:
    """Count the orders and their amounts by day and currency."""
    rows: dict[str, dict[str, Any]] = {}
    for fact in facts:
        key = f"{fact.day}/{fact.currency}"
        row = rows.setdefault(key, {"id": key, "day": fact.day, "currency": fact.currency, **_nothing(OF_A_DAY)})
        row[f"{fact.kind}_orders"] += 1
        row[f"{fact.kind}_amount"] += fact.sales
        row[f"{fact.kind}_tax"] += fact.tax
        row[f"{fact.kind}_charges"] += fact.charges
    _write(ADD_TO_DAYS, rows.values())


def add_to_products(facts: Sequence[Fact]) -> None:
    """Count the pieces and their amounts by day, currency and product."""
    rows: dict[str, dict[str, Any]] = {}
    for fact in facts:
        for line in fact.lines:
            key = f"{fact.day}/{fact.currency}/{line.product_id}"
            row = rows.get(key)
            if row is None:
                row = rows[key] = {
                    "id": key,
                    "day": fact.day,
                    "currency": fact.currency,
                    "product_id": line.product_id,
                    "product_name": line.product_name,
                    "named_at": fact.at,
                    **_nothing(OF_A_PRODUCT),
                }
            if (fact.at, line.product_name) > (row["named_at"], row["product_name"]):
                row["named_at"], row["product_name"] = fact.at, line.product_name
            row[f"{fact.kind}_quantity"] += line.quantity
            row[f"{fact.kind}_amount"] += line.amount
    _write(ADD_TO_PRODUCTS, rows.values())


def note_orders(facts: Sequence[Fact]) -> None:
    """Keep each order's place in its customer's history; its status is the latest that it can have."""
    rows: dict[UUID, dict[str, Any]] = {}
    for fact in sorted(facts, key=lambda fact: KINDS.index(fact.kind)):
        row = rows.setdefault(fact.order_id, {"created_at": fact.at if fact.kind == "created" else None})
        row.update(
            order_id=fact.order_id,
            customer_id=fact.customer_id,
            status=fact.kind.upper(),
            status_at=fact.at,
            pieces=sum(line.quantity for line in fact.lines),
            total_amount=fact.total,
            currency=fact.currency,
        )
    _write(NOTE_ORDERS, rows.values())


def note_stages(facts: Sequence[Fact]) -> None:
    """Keep when each order was created, confirmed and shipped."""
    rows: dict[UUID, dict[str, Any]] = {}
    for fact in facts:
        rows.setdefault(fact.order_id, {"order_id": fact.order_id}).setdefault(fact.kind, fact.at)
    _write(NOTE_STAGES, rows.values())


def _nothing(counted: Sequence[str]) -> dict[str, Any]:
    return {f"{kind}_{what}": Decimal(0) for kind in KINDS for what in counted}


def _write(statement: str, rows: Iterable[dict[str, Any]]) -> None:
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute(statement, [encode_json(list(rows)).decode()])
