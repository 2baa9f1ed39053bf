"""The fold, and what it must agree with: the rows, the fold in SQL, and the snapshots, whatever happens when."""

from collections.abc import Mapping
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventbus.testing import ArchivedEvent, deliver
from inventory import history, past, services, snapshots
from inventory.consumers import release_stock, reserve_stock, ship_stock
from inventory.events import StockReceived, StockReleased, StockReserved, StockShipped
from inventory.history import Quantities, fold
from inventory.invariants import stock_unlike_its_history
from inventory.models import Stock
from inventory.tests.builders import as_it_is, order_cancelled, order_created, order_shipped, stream_of
from orders.events import OrderCreated

pytestmark = pytest.mark.django_db


def test_each_movement_counts_as_it_says() -> None:
    events: list[tuple[str, Mapping[str, Any]]] = [
        ("inventory.stock.received", {"quantity": 10}),
        ("inventory.stock.reserved", {"quantity": 4}),
        ("inventory.stock.low", {"available": 6, "threshold": 10}),
        ("inventory.stock.released", {"quantity": 1}),
        ("inventory.stock.shipped", {"quantity": 2}),
        ("inventory.stock.corrected", {"difference": -3}),
    ]
    assert fold(events) == Quantities(available=4, reserved=1, shipped=2)


def test_a_products_stream_tells_of_each_order() -> None:
    services.receive_stock(product_id="cup", product_name="Cup", quantity=20)
    sent, off, other = (order_created(("cup", quantity)) for quantity in (1, 2, 3))
    deliver([sent, off, other], to=reserve_stock)
    deliver(cancelled := order_cancelled(off), to=release_stock)
    deliver(order_shipped(sent), to=ship_stock)
    told = [(row.type, row.data.get("orderId"), row.data["quantity"]) for row in stream_of("cup")]
    assert told == [
        (StockReceived.type, None, 20),
        (StockReserved.type, str(sent.order_id), 1),
        (StockReserved.type, str(off.order_id), 2),
        (StockReserved.type, str(other.order_id), 3),
        (StockReleased.type, str(off.order_id), 2),
        (StockShipped.type, str(sent.order_id), 1),
    ]
    assert ArchivedEvent.objects.get(type=StockReleased.type).causation_id == cancelled.envelope.event_id


def test_what_is_refused_or_comes_twice_is_told_by_no_movement() -> None:
    services.receive_stock(product_id="cup", product_name="Cup", quantity=100)
    order = order_created(("cup", 1))
    deliver([order, order_created(("cup", 1000))], to=reserve_stock)
    shipped = order_shipped(order)
    deliver(shipped, to=ship_stock)
    deliver(order_shipped(order), to=ship_stock)
    assert [row.type for row in stream_of("cup")] == [StockReceived.type, StockReserved.type, StockShipped.type]


def move(kind: str, quantity: int, orders: list[OrderCreated]) -> None:
    """One thing that may happen to the stock of a cup. Orders are taken from the list once they have ended."""
    stock = Stock.objects.get(pk="cup")
    if kind == "receive":
        services.receive_stock(product_id="cup", quantity=quantity)
    elif kind == "count":
        expected = stream_of("cup")[-1].sequence
        services.correct_stock(product_id="cup", counted=stock.reserved + quantity, expected=expected, reason="count")
    elif kind == "reserve":
        order = order_created(("cup", quantity))
        deliver(order, to=reserve_stock)
        if quantity <= stock.available:
            orders.append(order)
    elif orders:
        order = orders.pop(quantity % len(orders))
        if kind == "release":
            deliver(order_cancelled(order), to=release_stock)
        else:
            deliver(order_shipped(order), to=ship_stock)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(
        st.tuples(st.sampled_from(["receive", "count", "reserve", "release", "ship"]), st.integers(1, 9)), max_size=30
    ),
    every=st.integers(1, 7),
)
def test_whatever_happens_the_row_is_what_its_history_says_at_every_place(
    moves: list[tuple[str, int]], every: int, db: None
) -> None:
    with transaction.atomic():
        services.receive_stock(product_id="cup", product_name="Cup", quantity=5)
        orders: list[OrderCreated] = []
        seen = [as_it_is("cup")]
        for kind, quantity in moves:
            move(kind, quantity, orders)
            seen.append(as_it_is("cup"))
        events = stream_of("cup")
        places = [fold((row.type, row.data) for row in events[:count]) for count in range(1, len(events) + 1)]
        assert places[-1] == seen[-1]
        assert set(seen) <= set(places)
        for with_snapshots in (False, True):
            if with_snapshots:
                assert snapshots.make_snapshots(every) == len(events) // every
            for row, balance in zip(events, places, strict=True):
                at = past.stock_at("cup", row.sequence)
                assert at is not None
                assert (at.sequence, at.stock) == (row.sequence, balance)
        assert [entry.balance for entry in past.ledger("cup", limit=100)][::-1] == [
            balance for row, balance in zip(events, places, strict=True) if row.type in history.MOVES
        ]
        assert stock_unlike_its_history() == []
        transaction.set_rollback(True)
