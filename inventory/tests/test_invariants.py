import pytest
from django.db import IntegrityError, connection, transaction

from eventbus import publish
from eventbus.testing import deliver, prune_this_month
from inventory import services
from inventory.consumers import release_stock, reserve_stock, ship_stock
from inventory.invariants import reservations_that_disagree, stock_unlike_its_history, unbalanced_stock
from inventory.models import Reservation, Stock
from inventory.tests.builders import order_cancelled, order_created, order_shipped, shelve

pytestmark = pytest.mark.django_db


def test_after_orders_the_books_balance() -> None:
    shelve("cup", 3)
    deliver([order_created(("cup", 2)), order_created(("cup", 2))], to=reserve_stock)
    assert unbalanced_stock() == []


def test_a_reservation_that_disappears_is_found() -> None:
    shelve("cup", 3)
    deliver(order_created(("cup", 2)), to=reserve_stock)
    Reservation.objects.all().delete()
    assert unbalanced_stock() == [
        "cup: received 3, available 1, reserved 2, shipped 0; open reservations: 0, shipped ones: 0"
    ]


def test_a_reservation_of_a_product_without_stock_is_found() -> None:
    shelve("cup", 3)
    deliver(order_created(("cup", 2)), to=reserve_stock)
    Stock.objects.all().delete()
    assert unbalanced_stock() == [
        "cup: received 0, available 0, reserved 0, shipped 0; open reservations: 2, shipped ones: 0"
    ]


@pytest.mark.parametrize(
    "change",
    ["available = available + 1", "available = -1, received = -1", "reserved = -1, available = 4", "shipped = 1"],
)
def test_the_database_refuses_what_does_not_add_up(change: str) -> None:
    shelve("cup", 3)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE inventory_stock SET {change}")


def test_a_shipment_that_is_not_written_off_is_found() -> None:
    shelve("cup", 3)
    deliver(order_created(("cup", 2)), to=reserve_stock)
    Reservation.objects.update(state="SHIPPED")
    assert unbalanced_stock() == [
        "cup: received 3, available 1, reserved 2, shipped 0; open reservations: 0, shipped ones: 2"
    ]


def test_a_reservation_that_is_not_what_became_of_its_order_is_found() -> None:
    shelve("cup", 10)
    off, gone = order_created(("cup", 2)), order_created(("cup", 1))
    deliver([off, gone], to=reserve_stock)
    with transaction.atomic():
        publish(order_cancelled(off), order_shipped(gone))
    assert sorted(reservations_that_disagree()) == sorted(
        [
            f"order {off.order_id}: RESERVED after order.cancelled",
            f"order {gone.order_id}: RESERVED after order.shipped",
        ]
    )
    deliver(order_cancelled(off), to=release_stock)
    deliver(order_shipped(gone), to=ship_stock)
    assert reservations_that_disagree() == []


def test_a_reservation_whose_order_was_pruned_is_in_order() -> None:
    shelve("cup", 10)
    gone = order_created(("cup", 2))
    deliver(gone, to=reserve_stock)
    with transaction.atomic():
        publish(order_shipped(gone))
    assert reservations_that_disagree() != []
    prune_this_month()
    assert reservations_that_disagree() == unbalanced_stock() == []


def test_stock_outlives_the_events_that_are_pruned() -> None:
    services.receive_stock(product_id="cup", product_name="Cup", quantity=10)
    deliver(order_created(("cup", 2)), to=reserve_stock)
    prune_this_month()
    assert stock_unlike_its_history() == []
    deliver(order_created(("cup", 3)), to=reserve_stock)
    assert stock_unlike_its_history() == []
    assert Stock.objects.get(pk="cup").reserved == 5
