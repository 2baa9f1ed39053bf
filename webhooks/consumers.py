"""What webhooks react to: everything that is offered. Here it is only written down who is to be told; an address that
is down delays nothing but itself."""

from collections.abc import Sequence

from eventbus import Event, consumer
from webhooks import services
from webhooks.catalogue import OFFERED


@consumer("webhooks.queue_deliveries", on=OFFERED, concurrency=1, time_limit=30, batched=True)
def queue_deliveries(events: Sequence[Event]) -> None:
    """Write down which webhooks are to be told of these."""
    services.queue_deliveries(events)
