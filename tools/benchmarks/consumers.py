"""Consumers that only the benchmarks know."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from django.db import connection

from eventbus import Event, consumer
from tools.benchmarks.events import OrderFanned, OrderSold, OrderTallied
from tools.benchmarks.models import Sales, Tally


@consumer("bench.tally", on=[OrderTallied])
def tally(event: OrderTallied) -> None:
    """Write one row, as a handler of one event does."""
    Tally.objects.create(event_id=event.envelope.event_id, order_id=event.order_id, total_amount=event.total_amount)


# The very same handler: all that differs is the order.
tally_ordered = consumer("bench.tally_ordered", on=[OrderTallied], ordered=True)(tally.handler)


@consumer("bench.tally_list", on=[OrderTallied], batched=True)
def tally_list(events: Sequence[OrderTallied]) -> None:
    """Write the same rows set-wise."""
    Tally.objects.bulk_create(
        Tally(event_id=event.envelope.event_id, order_id=event.order_id, total_amount=event.total_amount)
        for event in events
    )


ADD_SALES = f"""
INSERT INTO {Sales._meta.db_table} AS known (day, orders, revenue)
SELECT * FROM unnest(%s::date[], %s::int[], %s::numeric[])
ON CONFLICT (day) DO UPDATE SET orders = known.orders + EXCLUDED.orders, revenue = known.revenue + EXCLUDED.revenue
"""


@consumer("bench.sell", on=[OrderSold], batched=True, tables=[Sales])
def sell(events: Sequence[OrderSold]) -> None:
    """Add the orders to their days, set-wise."""
    amounts = defaultdict(list)
    for event in events:
        amounts[event.envelope.occurred_at.date()].append(event.total_amount)
    # Sorted, so that two batches with the same days cannot deadlock.
    days = sorted(amounts)
    with connection.cursor() as cursor:
        cursor.execute(
            ADD_SALES, [days, [len(amounts[day]) for day in days], [sum(amounts[day], Decimal(0)) for day in days]]
        )


def leave(event: Event) -> None:
    """No worker runs it: its queue only fills."""


for number in range(1, 5):
    consumer(f"fan.out_{number}", on=[OrderFanned])(leave)
