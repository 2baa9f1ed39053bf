import pytest
from django.db import IntegrityError, connection, transaction

from eventbus.testing import deliver
from inventory.consumers import reserve_stock
from inventory.models import Reservation, Stock
from inventory.queries import unbalanced_stock
from inventory.tests.factories import order_created, shelve

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
