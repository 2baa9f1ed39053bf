"""Cancellation, reservation, dispatch and time-out at the same moment, in threads, on the real database."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier
from threading import Event as Flag
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings

from eventbus.archive.models import ArchivedEvent
from eventbus.monitoring import invariants
from inventory import services as inventory
from inventory.models import Stock
from orders import services as orders
from orders.models import Order
from orders.tests.builders import a_channel, an_item, placed_order
from shipping import services as shipping
from shipping.models import Shipment
from shipping.tests.builders import SOON
from tests.support.pump import Delivery, Pump
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

ORDERS = 30


@pytest.fixture
def product() -> str:
    product_id = f"thing-{uuid4()}"
    inventory.receive_stock(product_id=product_id, product_name="A thing", quantity=ORDERS)
    return product_id


@pytest.fixture
def order_ids(product: str) -> list[UUID]:
    channel = a_channel()
    return [placed_order(channel, items=[an_item(productId=product, quantity=1)]).pk for _ in range(ORDERS)]


def try_each(order_ids: Iterable[UUID], act: Callable[..., object], refused: type[Exception], won: set[UUID]) -> None:
    """Ask for the same of each order; `won` are those where the answer was yes."""
    for order_id in order_ids:
        try:
            act(order_id=order_id)
        except refused:
            continue
        won.add(order_id)


cancel = partial(orders.cancel_order, reason="requested")
dispatch = partial(shipping.dispatch, carrier="Fast Parcel", tracking_number="FP-1", estimated_delivery=SOON)


def outcome(product: str, order_ids: list[UUID]) -> dict[UUID, str]:
    """Each order's status, with all that must hold of orders, stock and histories checked."""
    statuses = dict(Order.objects.filter(pk__in=order_ids).values_list("pk", "status"))
    mine = {product, *map(str, order_ids)}
    # The archive may hold what other tests committed.
    found = [line for each in invariants.INVARIANTS if each.code in {"I1", "I2", "I6"} for line in each.check()]
    assert [line for line in found if any(each in line for each in mine)] == []
    stock = Stock.objects.get(pk=product)
    count = list(statuses.values()).count
    assert (stock.reserved, stock.shipped) == (count("CONFIRMED"), count("SHIPPED"))
    assert stock.available == ORDERS - stock.reserved - stock.shipped
    return statuses


def test_cancelling_and_reserving_at_once_ends_cancelled_with_everything_on_the_shelf(
    product: str, order_ids: list[UUID]
) -> None:
    pump, cancelled = Pump(), set[UUID]()
    pump.relay()
    reserving = [each for each in pump.waiting if each.consumer.name == "inventory.reserve_stock"]
    pump.waiting = [each for each in pump.waiting if each not in reserving]
    at_once(
        [
            lambda: one_by_one(pump, reserving[: ORDERS // 2]),
            lambda: pump.run(reserving[ORDERS // 2 :]),
            lambda: try_each(order_ids, cancel, orders.CannotMove, cancelled),
            lambda: settle(pump, lambda: len(cancelled) == ORDERS),
        ]
    )
    pump.drain()
    assert set(outcome(product, order_ids).values()) == {"CANCELLED"}


def test_of_a_cancellation_and_a_dispatch_exactly_one_wins(product: str, order_ids: list[UUID]) -> None:
    pump = Pump()
    pump.drain()
    assert Shipment.objects.filter(pk__in=order_ids, state="PREPARED").count() == ORDERS
    cancelled, dispatched, abreast = set[UUID](), set[UUID](), Barrier(2, timeout=30)

    def together(act: Callable[..., object]) -> Callable[..., object]:
        return lambda order_id: (abreast.wait(), act(order_id=order_id))

    at_once(
        [
            lambda: try_each(order_ids, together(cancel), orders.CannotMove, cancelled),
            lambda: try_each(order_ids, together(dispatch), shipping.CannotDispatch, dispatched),
        ]
    )
    assert cancelled | dispatched == set(order_ids)
    assert not cancelled & dispatched
    pump.drain()
    statuses = outcome(product, order_ids)
    assert {order_id for order_id, status in statuses.items() if status == "SHIPPED"} == dispatched


def test_everything_at_once_ends_legal_with_the_stock_right(product: str, order_ids: list[UUID]) -> None:
    pump, done = Pump(), Flag()
    cancelled, dispatched = set[UUID](), set[UUID]()
    later = datetime.now(UTC) + settings.ORDER_DEADLINE + timedelta(minutes=1)

    def act() -> None:
        refused: Any = (shipping.CannotDispatch, shipping.NoShipment)
        for part in (order_ids[:10], order_ids[10:20]):
            try_each(part, dispatch, refused, dispatched)
            try_each(reversed(part), cancel, orders.CannotMove, cancelled)
        orders.cancel_overdue(now=later)
        try_each(order_ids, dispatch, refused, dispatched)
        done.set()

    at_once([lambda: settle(pump, done.is_set), lambda: settle(pump, done.is_set), act])
    pump.drain()
    statuses = outcome(product, order_ids)
    assert {statuses[order_id] for order_id in cancelled} <= {"CANCELLED"}
    assert {statuses[order_id] for order_id in dispatched} <= {"SHIPPED"}
    kinds = list(ArchivedEvent.objects.filter(aggregate_id__in=map(str, order_ids)).values_list("type", flat=True))
    assert kinds.count("order.cancelled") + kinds.count("shipment.dispatched") <= ORDERS


def one_by_one(pump: Pump, deliveries: Sequence[Delivery]) -> None:
    for each in deliveries:
        pump.run([each])


def settle(pump: Pump, done: Callable[[], bool]) -> None:
    """Deliver until the others are done and nothing waits."""
    while not done() or pump.waiting:
        pump.relay()
        pump.run(pump.take(0, 5))
