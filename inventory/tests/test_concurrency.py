"""Several workers at once, each with a connection of its own."""

from collections.abc import Callable, Sequence
from uuid import uuid4

import pytest

from eventbus.testing import deliver
from inventory.consumers import reserve_stock
from inventory.events import InventoryReservationFailed, InventoryReserved
from inventory.invariants import unbalanced_stock
from inventory.models import Stock
from inventory.services import receive_stock
from inventory.tests.builders import about, order_created, shelve
from orders.events import OrderCreated
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def fresh(name: str) -> str:
    """A product that no other test uses: what is committed here stays in the archive."""
    return f"{name}-{uuid4()}"


def worker(orders: Sequence[OrderCreated], batch: int) -> Callable[[], None]:
    def work() -> None:
        for start in range(0, len(orders), batch):
            deliver(orders[start : start + batch], to=reserve_stock)

    return work


@pytest.mark.parametrize("batch", [1, 10])
def test_a_hot_product_is_sold_exactly_as_often_as_it_is_there(batch: int) -> None:
    stock = shelve(fresh("hot"), 100)
    orders = [order_created((stock.product_id, 1)) for _ in range(320)]
    at_once([worker(orders[n::8], batch) for n in range(8)])
    stock.refresh_from_db()
    assert (stock.available, stock.reserved) == (0, 100)
    assert len(about(InventoryReserved, *orders)) == 100
    assert len(about(InventoryReservationFailed, *orders)) == 220
    assert unbalanced_stock() == []


def test_baskets_in_opposite_order_do_not_deadlock() -> None:
    products = [fresh("p") for _ in range(6)]
    for product_id in products:
        shelve(product_id, 1000)
    there = [order_created(*((key, 1) for key in products)) for _ in range(120)]
    back = [order_created(*((key, 1) for key in reversed(products))) for _ in range(120)]
    # A deadlock would surface: deliver() is one run, without the bus's second try.
    at_once([worker(there[0::2], 1), worker(back[0::2], 1), worker(there[1::2], 7), worker(back[1::2], 7)])
    assert set(Stock.objects.values_list("reserved", flat=True)) == {240}
    assert unbalanced_stock() == []


def test_goods_that_come_in_meanwhile_are_counted() -> None:
    cup = shelve(fresh("cup"), 50).product_id
    orders = [order_created((cup, 1)) for _ in range(100)]

    def receive() -> None:
        for _ in range(50):
            receive_stock(product_id=cup, quantity=1)

    at_once([worker(orders[0::2], 5), worker(orders[1::2], 5), receive])
    assert Stock.objects.get(product_id=cup).received == 100
    assert unbalanced_stock() == []


def test_two_first_receipts_of_a_product_are_both_counted() -> None:
    product_id = fresh("new")
    jobs = [lambda: receive_stock(product_id=product_id, product_name="New", quantity=3) for _ in range(4)]
    at_once(jobs)
    assert Stock.objects.get(product_id=product_id).available == 12


def test_one_order_announced_twice_at_once_is_decided_once() -> None:
    stock = shelve(fresh("cup"), 10)
    order_id = uuid4()
    twins = [order_created((stock.product_id, 2), order_id=order_id) for _ in range(4)]
    at_once([worker([twin], 1) for twin in twins])
    stock.refresh_from_db()
    assert stock.available == 8
    assert len(about(InventoryReserved, twins[0])) == 1
