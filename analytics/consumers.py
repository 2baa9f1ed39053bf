"""What analytics listens to: everything that happens to orders. Each consumer keeps one read model."""

from collections.abc import Sequence
from decimal import Decimal

from analytics import services
from analytics.models import CustomerOrder, Fulfilment, SalesByDay, SalesByProduct
from analytics.services import Fact, Line
from eventbus import consumer
from orders.events import AdjustmentKind, OrderCancelled, OrderConfirmed, OrderCreated, OrderRejected, OrderShipped

OrderEvent = OrderCreated | OrderConfirmed | OrderRejected | OrderCancelled | OrderShipped
ALL = (OrderCreated, OrderConfirmed, OrderRejected, OrderCancelled, OrderShipped)


@consumer("analytics.sales_by_day", on=ALL, batched=True, start="beginning", tables=[SalesByDay])
def sales_by_day(events: Sequence[OrderEvent]) -> None:
    """Orders and amounts by day."""
    services.add_to_days([as_fact(event) for event in events])


@consumer("analytics.sales_by_product", on=ALL, batched=True, start="beginning", tables=[SalesByProduct])
def sales_by_product(events: Sequence[OrderEvent]) -> None:
    """Pieces and amounts by product and day."""
    services.add_to_products([as_fact(event) for event in events])


@consumer("analytics.customer_orders", on=ALL, batched=True, start="beginning", tables=[CustomerOrder])
def customer_orders(events: Sequence[OrderEvent]) -> None:
    """Each customer's orders."""
    services.note_orders([as_fact(event) for event in events])


@consumer(
    "analytics.fulfilment",
    on=[OrderCreated, OrderConfirmed, OrderShipped],
    batched=True,
    start="beginning",
    tables=[Fulfilment],
)
def fulfilment(events: Sequence[OrderCreated | OrderConfirmed | OrderShipped]) -> None:
    """How long an order takes."""
    services.note_stages([as_fact(event) for event in events])


def as_fact(event: OrderEvent) -> Fact:
    """What the read models need of an event. Where it tells no adjustments, the whole total counts as sales."""
    parts = dict.fromkeys(AdjustmentKind, Decimal(0))
    for each in event.adjustments:
        parts[each.kind] += each.amount
    return Fact(
        kind=event.type.removeprefix("order."),
        at=event.envelope.occurred_at,
        order_id=event.order_id,
        customer_id=event.customer.id if isinstance(event, OrderCreated) else event.customer_id,
        currency=event.currency,
        total=event.total_amount,
        tax=parts[AdjustmentKind.TAX],
        charges=parts[AdjustmentKind.SHIPPING] + parts[AdjustmentKind.FEE] + parts[AdjustmentKind.ROUNDING],
        lines=tuple(
            Line(item.product_id, item.product_name, item.quantity, item.quantity * item.unit_price)
            for item in event.items
        ),
    )
