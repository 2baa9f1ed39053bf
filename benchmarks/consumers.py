"""Consumers that only the benchmarks know."""

from collections.abc import Sequence

from benchmarks.events import OrderFanned, OrderTallied
from benchmarks.models import Tally
from eventbus.contracts import Event
from eventbus.declarations import consumer


@consumer("bench.tally", on=[OrderTallied])
def tally(event: OrderTallied) -> None:
    """Write one row, as a handler of one event does."""
    Tally.objects.create(event_id=event.envelope.event_id, order_id=event.order_id, total_amount=event.total_amount)


# The very same handler: all that differs is the order.
tally_ordered = consumer("bench.tally_ordered", on=[OrderTallied], ordered=True)(tally.handler)


@consumer("bench.tally_list", on=[OrderTallied], takes_list=True)
def tally_list(events: Sequence[OrderTallied]) -> None:
    """Write the same rows set-wise."""
    Tally.objects.bulk_create(
        Tally(event_id=event.envelope.event_id, order_id=event.order_id, total_amount=event.total_amount)
        for event in events
    )


def leave(event: Event) -> None:
    """No worker runs it: its queue only fills."""


for number in range(1, 5):
    consumer(f"fan.out_{number}", on=[OrderFanned])(leave)
