"""Events that the archive has already, as the messages that the relay sends."""

from collections.abc import Sequence
from dataclasses import replace

from django.db import connection, transaction

from eventbus import publish
from eventbus.broker.message import to_message
from eventbus.broker.publisher import Outgoing
from eventbus.contracts.rows import WIRE_COLUMNS, WireFields
from eventbus.relay.relay import BATCH
from orders.events import OrderCreated
from tools.benchmarks.samples import order_event

STORED = f"""
SELECT {WIRE_COLUMNS}
FROM event e WHERE type = %s ORDER BY id LIMIT %s
"""


def stored(contract: type[OrderCreated], count: int) -> list[Outgoing]:
    """Archived events as the very messages that the relay sends, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(STORED, [contract.type, count])
        return [to_message(WireFields(*row)) for row in cursor.fetchall()]


def record(contract: type[OrderCreated], count: int, *, per_order: int) -> None:
    """Record so many events with publish(), several of each order, and leave none of them to a relay.

    An order's events are some hundred places apart, as under load: two of them are often in two workers at once.
    """
    orders = BATCH // per_order
    for _ in range(0, count, BATCH):
        firsts = [order_event(contract) for _ in range(orders)]
        with transaction.atomic():
            publish(*firsts * per_order)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE outbox")


def addressed(messages: Sequence[Outgoing], queue: str) -> list[Outgoing]:
    """The same messages for one queue alone."""
    return [replace(message, exchange="", routing_key=queue) for message in messages]
