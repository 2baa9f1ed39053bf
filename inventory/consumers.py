"""What inventory reacts to."""

from collections import Counter
from collections.abc import Sequence

from eventbus import Retry, consumer
from inventory import services
from inventory.allocation import Request
from orders.events import OrderCancelled, OrderCreated, OrderShipped


@consumer(
    "inventory.reserve_stock", on=[OrderCreated], retry=Retry(times=3), concurrency=50, time_limit=30, batched=True
)
def reserve_stock(events: Sequence[OrderCreated]) -> None:
    """Set aside what new orders ask for, or say why not."""
    services.reserve_stock([as_request(event) for event in events])


@consumer("inventory.release_stock", on=[OrderCancelled], concurrency=50, time_limit=30, batched=True)
def release_stock(events: Sequence[OrderCancelled]) -> None:
    """Give back what cancelled orders had set aside."""
    services.release_stock([as_request(event) for event in events])


@consumer("inventory.ship_stock", on=[OrderShipped], concurrency=50, time_limit=30, batched=True)
def ship_stock(events: Sequence[OrderShipped]) -> None:
    """Write off what has left the house."""
    services.ship_stock([as_request(event) for event in events])


def as_request(event: OrderCreated | OrderCancelled | OrderShipped) -> Request:
    """The order's wishes per product: it may name one in several lines."""
    wanted: Counter[str] = Counter()
    for item in event.items:
        wanted[item.product_id] += item.quantity
    return Request(event.order_id, wanted, event)
