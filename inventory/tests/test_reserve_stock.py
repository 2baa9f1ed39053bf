"""The consumer through the real inbox, on a real database."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from eventbus.testing import ArchivedEvent, ProcessedEvent, deliver
from inventory.consumers import reserve_stock
from inventory.events import InventoryReservationFailed, InventoryReserved, ReservedItem, Shortage, StockLow
from inventory.models import Reservation, ReservationState, Stock
from inventory.tests.builders import about, available, order_created, shelve
from orders.events import OrderCreated

pytestmark = pytest.mark.django_db


def test_a_redelivered_order_reserves_its_stock_once() -> None:
    stock = shelve("cup", 10)
    order = order_created(("cup", 2))
    deliver(order, to=reserve_stock)
    deliver(order, to=reserve_stock)
    stock.refresh_from_db()
    assert (stock.available, stock.reserved, stock.received) == (8, 2, 10)
    assert about(InventoryReserved, order) == [
        InventoryReserved(order_id=order.order_id, items=(ReservedItem(product_id="cup", quantity=2),))
    ]


def test_one_short_line_leaves_everything_on_the_shelf_and_says_what_is_short() -> None:
    shelve("cup", 10)
    shelve("vase", 1)
    order = order_created(("cup", 2), ("vase", 3))
    deliver(order, to=reserve_stock)
    assert (available("cup"), available("vase")) == (10, 1)
    assert about(InventoryReservationFailed, order) == [
        InventoryReservationFailed(
            order_id=order.order_id,
            reason="insufficient_stock",
            shortages=(Shortage(product_id="vase", requested=3, available=1),),
        )
    ]
    assert about(InventoryReserved, order) == []


def test_an_unknown_product_is_refused_and_not_an_error() -> None:
    order = order_created(("ufo", 1))
    deliver(order, to=reserve_stock)
    assert [failed.reason for failed in about(InventoryReservationFailed, order)] == ["unknown_product"]


def test_two_lines_of_one_product_count_together() -> None:
    shelve("cup", 5)
    too_much, just_enough = order_created(("cup", 3), ("cup", 3)), order_created(("cup", 3), ("cup", 2))
    deliver([too_much, just_enough], to=reserve_stock)
    assert [failed.shortages[0].requested for failed in about(InventoryReservationFailed, too_much)] == [6]
    assert [reserved.items for reserved in about(InventoryReserved, just_enough)] == [
        (ReservedItem(product_id="cup", quantity=5),)
    ]
    assert Reservation.objects.get(order_id=just_enough.order_id).quantity == 5


def test_within_a_batch_who_came_first_is_served_first() -> None:
    shelve("vase", 2)
    orders = [order_created(("vase", 1)) for _ in range(4)]
    deliver(orders, to=reserve_stock)
    served = {reserved.order_id for reserved in about(InventoryReserved, *orders)}
    assert served == {orders[0].order_id, orders[1].order_id}
    assert len(about(InventoryReservationFailed, *orders)) == 2


def test_each_outcome_of_a_batch_names_its_own_order_as_its_cause() -> None:
    shelve("cup", 1)
    orders = [order_created(("cup", 1)), order_created(("cup", 1))]
    deliver(orders, to=reserve_stock)
    for order in orders:
        outcome = ArchivedEvent.objects.get(
            aggregate_id=str(order.order_id), type__in=["inventory.reserved", "inventory.reservation.failed"]
        )
        assert outcome.causation_id == order.envelope.event_id
        assert outcome.correlation_id == order.envelope.metadata.correlation_id


def test_the_number_of_statements_does_not_grow_with_orders_and_lines() -> None:
    products = [f"p-{n}" for n in range(50)]
    for product_id in products:
        shelve(product_id, 1000)

    def statements(orders: list[OrderCreated]) -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            deliver(orders, to=reserve_stock)
        return len(captured)

    few = statements([order_created(("p-0", 1)), order_created(("p-1", 1))])
    many = statements([order_created(*((product_id, 1) for product_id in products)) for _ in range(40)])
    assert many == few


def test_an_order_that_comes_again_after_the_inbox_forgot_it_changes_nothing() -> None:
    shelve("cup", 2)
    served, refused = order_created(("cup", 2)), order_created(("cup", 1))
    deliver([served, refused], to=reserve_stock)
    Stock.objects.filter(product_id="cup").update(available=5, received=7)
    ProcessedEvent.objects.filter(consumer=reserve_stock.name).delete()
    assert deliver([served, refused], to=reserve_stock) == 2
    assert available("cup") == 5
    assert len(about(InventoryReserved, served, refused)) == 1
    assert len(about(InventoryReservationFailed, served, refused)) == 1
    assert Reservation.objects.get(order_id=refused.order_id).state == ReservationState.REFUSED


def test_low_stock_is_announced_when_it_falls_and_not_at_every_order() -> None:
    shelve("cup", 12, low_threshold=10)

    def announced() -> list[tuple[int, int]]:
        rows = ArchivedEvent.objects.filter(type=StockLow.type, aggregate_id="cup").order_by("sequence")
        return [(row.data["available"], row.data["threshold"]) for row in rows]

    deliver(order_created(("cup", 2)), to=reserve_stock)
    assert announced() == []
    deliver([order_created(("cup", 1)), order_created(("cup", 1))], to=reserve_stock)
    deliver(order_created(("cup", 1)), to=reserve_stock)
    assert announced() == [(8, 10)]
    Stock.objects.filter(product_id="cup").update(available=20, received=25)
    deliver(order_created(("cup", 15)), to=reserve_stock)
    assert announced() == [(8, 10), (5, 10)]
