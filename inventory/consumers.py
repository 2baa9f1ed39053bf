"""What inventory reacts to."""

from collections import Counter
from collections.abc import Sequence

from eventbus.declarations import Retry, consumer
from inventory import services
from inventory.allocation import Request
from orders.events import OrderCreated


@consumer(
    "inventory.reserve_stock", on=[OrderCreated], retry=Retry(times=3), concurrency=50, time_limit=30, takes_list=True
)
def reserve_stock(events: Sequence[OrderCreated]) -> None:
    """Set aside what new orders ask for, or say why not."""
    services.reserve_stock([as_request(event) for event in events])


def as_request(event: OrderCreated) -> Request:
    """The order's wishes per product: it may name one in several lines."""
    wanted: Counter[str] = Counter()
    for item in event.items:
        wanted[item.product_id] += item.quantity
    return Request(event.order_id, wanted, event)
