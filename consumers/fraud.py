"""Flags orders that somebody should look at, and says so: the goods can still be held back.

What is flagged follows from the orders alone: a rule that looks back counts by when they were placed, and an order that
arrives late flags those after it which it makes suspicious. So the same orders end with the same flags, however they
arrive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import NAMESPACE_OID, UUID, uuid5

from django.contrib import admin
from django.db import connection, models

from eventbus import Event, Named, consumer, publish
from eventbus.admin import ReadOnlyAdmin
from orders.events import Identifier, OrderCreated

#: From this amount on an order is unusual, by currency. Where there is none, the amount says nothing.
UNUSUAL_AMOUNT = {"USD": Decimal(5_000), "EUR": Decimal(5_000), "GBP": Decimal(4_000), "JPY": Decimal(750_000)}
MANY_PIECES = 100
MANY_ORDERS = 5
MANY_ADDRESSES = 4


class Rule(models.TextChoices):
    AMOUNT = "amount", "unusually large amount"
    PIECES = "pieces", "unusually many of one product"
    ORDERS = "orders", "many orders of one customer within an hour"
    ADDRESSES = "addresses", "many addresses for one e-mail within a day"


class FraudOrder(models.Model):
    """What the rules need to know of an order, kept as long as the order is. E-mail and address are fingerprints."""

    order_id = models.UUIDField(primary_key=True)
    customer_id = models.TextField()
    email = models.UUIDField()
    address = models.UUIDField()
    placed_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["customer_id", "placed_at", "order_id"], name="fraud_order_of_customer"),
            models.Index(fields=["email", "placed_at", "order_id"], name="fraud_order_of_email"),
            models.Index(fields=["email", "address", "placed_at", "order_id"], name="fraud_order_of_address"),
        ]

    def __str__(self) -> str:
        return str(self.order_id)


class FraudFlag(models.Model):
    """An order that a rule found."""

    id = models.UUIDField(primary_key=True, help_text="Made of the order's id and the rule.")
    order_id = models.UUIDField(db_index=True)
    customer_id = models.TextField(db_index=True)
    rule = models.TextField(choices=Rule.choices)
    placed_at = models.DateTimeField()

    class Meta:
        ordering = ["-placed_at", "id"]
        indexes = [models.Index(fields=["-placed_at", "id"], name="fraud_flag_by_time")]

    def __str__(self) -> str:
        return f"{self.order_id}: {self.get_rule_display()}"


class FraudOrderFlagged(Event, type="fraud.order.flagged", version="1.0", aggregate="flag_id"):
    """An order looks suspicious, by this rule. Not in the order's own stream: the channel that placed it reads that."""

    flag_id: Named
    order_id: Named
    customer_id: Identifier
    rule: Identifier


@dataclass(frozen=True, slots=True)
class Finding:
    """An order that a rule found, and the order that arrived and made it so: mostly itself."""

    rule: Rule
    order_id: UUID
    customer_id: str
    placed_at: datetime
    made_so_by: UUID

    @property
    def id(self) -> UUID:
        return uuid5(self.order_id, self.rule)


# Of two batches at once neither would see the other's orders, and together they may be too many.
TAKE_TURNS = "SELECT pg_advisory_xact_lock(hashtextextended('fraud.flag_orders', 0))"
REMEMBER = """
INSERT INTO consumers_fraudorder (order_id, customer_id, email, address, placed_at)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::uuid[], %s::uuid[], %s::timestamptz[]) ON CONFLICT DO NOTHING
"""
FLAG = """
INSERT INTO consumers_fraudflag (id, order_id, customer_id, rule, placed_at)
SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::timestamptz[])
ON CONFLICT DO NOTHING RETURNING id
"""


# Orders follow each other by (placed_at, order_id). What an arrival can make suspicious, itself and orders after it, is
# few: those far behind it have enough orders before them without it. So a busy customer's next order costs no more than
# the first. OFFSET 0: with a new table's statistics PostgreSQL would rather compare every order with every other.
MANY_IN_AN_HOUR = f"""
SELECT DISTINCT ON (o.order_id) o.order_id, o.customer_id, o.placed_at, a.order_id
FROM consumers_fraudorder a, LATERAL (
    SELECT * FROM consumers_fraudorder o
    WHERE o.customer_id = a.customer_id AND (o.placed_at, o.order_id) >= (a.placed_at, a.order_id)
      AND o.placed_at <= a.placed_at + interval '1 hour'
    ORDER BY o.placed_at, o.order_id LIMIT {MANY_ORDERS}
) AS o, LATERAL (
    SELECT count(*) AS number FROM (
        SELECT FROM consumers_fraudorder e
        WHERE e.customer_id = o.customer_id AND (e.placed_at, e.order_id) <= (o.placed_at, o.order_id)
          AND e.placed_at >= o.placed_at - interval '1 hour'
        ORDER BY e.placed_at DESC, e.order_id DESC LIMIT {MANY_ORDERS}
    ) AS before
) AS counted
WHERE a.order_id = ANY(%s::uuid[]) AND counted.number >= {MANY_ORDERS}
ORDER BY o.order_id, o.order_id <> a.order_id
"""
# From the next order to the same address on, an arrival changes nothing. The addresses of an e-mail are counted by
# skipping from one to the next in their index, not by reading all its orders.
MANY_IN_A_DAY = f"""
SELECT DISTINCT ON (o.order_id) o.order_id, o.customer_id, o.placed_at, a.order_id
FROM consumers_fraudorder a, LATERAL (
    SELECT min(placed_at) AS until FROM (
        SELECT n.placed_at FROM consumers_fraudorder n
        WHERE n.email = a.email AND n.address = a.address
          AND (n.placed_at, n.order_id) > (a.placed_at, a.order_id)
        ORDER BY n.placed_at, n.order_id LIMIT 1
    ) AS next
) AS again, LATERAL (
    SELECT * FROM consumers_fraudorder o
    WHERE o.email = a.email AND (o.placed_at, o.order_id) >= (a.placed_at, a.order_id)
      AND o.placed_at <= least(a.placed_at + interval '1 day', again.until) OFFSET 0
) AS o, LATERAL (
    WITH RECURSIVE known AS (
        (SELECT address FROM consumers_fraudorder WHERE email = o.email ORDER BY address LIMIT 1)
        UNION ALL
        SELECT next.address FROM known, LATERAL (
            SELECT address FROM consumers_fraudorder WHERE email = o.email AND address > known.address
            ORDER BY address LIMIT 1) AS next
    )
    SELECT count(*) AS number FROM known, LATERAL (
        SELECT FROM consumers_fraudorder e
        WHERE e.email = o.email AND e.address = known.address AND (e.placed_at, e.order_id) <= (o.placed_at, o.order_id)
          AND e.placed_at >= o.placed_at - interval '1 day' LIMIT 1
    ) AS used
) AS counted
WHERE a.order_id = ANY(%s::uuid[]) AND counted.number >= {MANY_ADDRESSES}
ORDER BY o.order_id, o.order_id <> a.order_id
"""
LOOKING_BACK = {Rule.ORDERS: MANY_IN_AN_HOUR, Rule.ADDRESSES: MANY_IN_A_DAY}


@consumer("fraud.flag_orders", on=[OrderCreated], batched=True, start="beginning")
def flag_orders(events: Sequence[OrderCreated]) -> None:
    """Remember these orders, and flag what is suspicious among them and after them."""
    arrived = {event.order_id: event for event in events}
    found = [finding for event in events for finding in by_itself(event)]
    with connection.cursor() as cursor:
        cursor.execute(TAKE_TURNS)
        cursor.execute(REMEMBER, columns([remembered(event) for event in events]))
        for rule, query in LOOKING_BACK.items():
            cursor.execute(query, [list(arrived)])
            found += [Finding(rule, *row) for row in cursor.fetchall()]
        if not found:
            return
        cursor.execute(FLAG, columns([(f.id, f.order_id, f.customer_id, f.rule.value, f.placed_at) for f in found]))
        new = {flag_id for (flag_id,) in cursor.fetchall()}
    for finding in found:
        if finding.id in new:
            flagged = FraudOrderFlagged(
                flag_id=finding.id, order_id=finding.order_id, customer_id=finding.customer_id, rule=finding.rule.value
            )
            publish(flagged, caused_by=arrived[finding.made_so_by])


def by_itself(event: OrderCreated) -> list[Finding]:
    """What is suspicious about an order whatever else there is."""
    broken = []
    if event.total_amount >= UNUSUAL_AMOUNT.get(event.currency, Decimal("Infinity")):
        broken.append(Rule.AMOUNT)
    if any(item.quantity >= MANY_PIECES for item in event.items):
        broken.append(Rule.PIECES)
    return [Finding(rule, event.order_id, event.customer.id, event.created_at, event.order_id) for rule in broken]


def remembered(event: OrderCreated) -> tuple[UUID, str, UUID, UUID, datetime]:
    """A row of FraudOrder. Capitals and spaces at the ends make no other address."""
    lines = [line.strip().casefold() for line in event.shipping_address.model_dump().values()]
    address = uuid5(NAMESPACE_OID, "\n".join(lines))
    email = uuid5(NAMESPACE_OID, event.customer.email.strip().casefold())
    return event.order_id, event.customer.id, email, address, event.created_at


def columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


@admin.register(FraudFlag)
class FraudFlagAdmin(ReadOnlyAdmin):
    """What to look at, the newest first."""

    list_display = ["placed_at", "order_id", "customer_id", "rule"]
    list_filter = ["rule"]
    search_fields = ["customer_id__exact"]
    uuid_search_fields = ["order_id"]
    search_help_text = "A whole order or customer id"
