"""Events that only the benchmarks publish: orders, under types that no other consumer listens to."""

from orders.events import OrderCreated


class OrderFanned(OrderCreated, type="bench.order_fanned", version="1.0", aggregate="order_id", aggregate_type="order"):
    """Goes to four queues that nobody reads: what the relay is measured with."""


class OrderTallied(
    OrderCreated, type="bench.order_tallied", version="1.0", aggregate="order_id", aggregate_type="order"
):
    """Goes to the one consumer that is measured."""


class OrderSold(OrderCreated, type="bench.order_sold", version="1.0", aggregate="order_id", aggregate_type="order"):
    """What the rebuilt view is made of."""
