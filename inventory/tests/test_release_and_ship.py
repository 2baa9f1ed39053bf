"""What becomes of a reservation: released by a cancellation, written off by a shipment."""

from collections.abc import Sequence

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from eventbus import Consumer, Event, PermanentFailure
from eventbus.testing import ArchivedEvent, ProcessedEvent, deliver
from inventory.consumers import release_stock, reserve_stock, ship_stock
from inventory.events import InventoryReleased, InventoryReservationFailed, InventoryReserved, ReservedItem
from inventory.invariants import unbalanced_stock
from inventory.models import Reservation, Stock
from inventory.tests.builders import about, order_cancelled, order_created, order_shipped, shelve

pytestmark = pytest.mark.django_db


def quantities(product_id: str) -> tuple[int, int, int]:
    return Stock.objects.values_list("available", "reserved", "shipped").get(product_id=product_id)


def test_a_redelivered_cancellation_gives_everything_back_once() -> None:
    shelve("cup", 10)
    shelve("jug", 3)
    order = order_created(("cup", 2), ("cup", 1), ("jug", 1))
    deliver(order, to=reserve_stock)
    cancelled = order_cancelled(order)
    deliver(cancelled, to=release_stock)
    deliver(cancelled, to=release_stock)
    assert (quantities("cup"), quantities("jug")) == ((10, 0, 0), (3, 0, 0))
    [released] = about(InventoryReleased, order)
    assert sorted(released.items, key=lambda item: item.product_id) == [
        ReservedItem(product_id="cup", quantity=3),
        ReservedItem(product_id="jug", quantity=1),
    ]
    assert ArchivedEvent.objects.get(type=InventoryReleased.type).causation_id == cancelled.envelope.event_id
    assert unbalanced_stock() == []


def test_a_second_cancellation_in_another_event_gives_nothing_back() -> None:
    shelve("cup", 10)
    order = order_created(("cup", 2))
    deliver(order, to=reserve_stock)
    deliver([order_cancelled(order), order_cancelled(order)], to=release_stock)
    deliver(order_cancelled(order), to=release_stock)
    assert quantities("cup") == (10, 0, 0)
    assert len(about(InventoryReleased, order)) == 1


def test_an_order_that_arrives_after_its_cancellation_reserves_nothing_and_says_nothing() -> None:
    shelve("cup", 10)
    order = order_created(("cup", 2), ("ufo", 1))
    deliver(order_cancelled(order), to=release_stock)
    deliver(order, to=reserve_stock)
    ProcessedEvent.objects.filter(consumer=reserve_stock.name).delete()
    deliver(order, to=reserve_stock)
    assert quantities("cup") == (10, 0, 0)
    for contract in (InventoryReserved, InventoryReservationFailed, InventoryReleased):
        assert about(contract, order) == []
    assert set(Reservation.objects.values_list("state", flat=True)) == {"CANCELLED"}


def test_the_cancellation_of_a_refused_order_changes_nothing() -> None:
    shelve("cup", 1)
    order = order_created(("cup", 2))
    deliver(order, to=reserve_stock)
    deliver(order_cancelled(order), to=release_stock)
    assert quantities("cup") == (1, 0, 0)
    assert about(InventoryReleased, order) == []
    assert Reservation.objects.get().state == "REFUSED"


def test_what_was_released_is_sold_to_the_next() -> None:
    shelve("vase", 1)
    first, second = order_created(("vase", 1)), order_created(("vase", 1))
    deliver(first, to=reserve_stock)
    deliver(order_cancelled(first), to=release_stock)
    deliver(second, to=reserve_stock)
    assert len(about(InventoryReserved, second)) == 1


def test_a_redelivered_shipment_is_written_off_once() -> None:
    shelve("cup", 10)
    order = order_created(("cup", 2))
    deliver(order, to=reserve_stock)
    shipped = order_shipped(order)
    deliver(shipped, to=ship_stock)
    deliver(shipped, to=ship_stock)
    deliver(order_shipped(order), to=ship_stock)
    assert quantities("cup") == (8, 0, 2)
    assert unbalanced_stock() == []


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_shipment_of_what_is_not_set_aside_is_an_error_and_changes_nothing(cancelled: bool) -> None:
    shelve("cup", 10)
    order = order_created(("cup", 2))
    if cancelled:
        deliver(order, to=reserve_stock)
        deliver(order_cancelled(order), to=release_stock)
    with pytest.raises(PermanentFailure, match=str(order.order_id)):
        deliver(order_shipped(order), to=ship_stock)
    assert quantities("cup") == (10, 0, 0)


def test_the_number_of_statements_does_not_grow_with_the_orders() -> None:
    for n in range(20):
        shelve(f"p-{n}", 1000)
    orders = [order_created(*((f"p-{n}", 1) for n in range(20))) for _ in range(44)]
    deliver(orders, to=reserve_stock)

    def statements(consumer: Consumer, events: Sequence[Event]) -> int:
        with CaptureQueriesContext(connection) as captured:
            deliver(events, to=consumer)
        return len(captured)

    released = [order_cancelled(order) for order in orders[:22]]
    assert statements(release_stock, released[:2]) == statements(release_stock, released[2:])
    shipped = [order_shipped(order) for order in orders[22:]]
    assert statements(ship_stock, shipped[:2]) == statements(ship_stock, shipped[2:])
    assert unbalanced_stock() == []
