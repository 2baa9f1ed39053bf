"""Inventory's answer moves an order, once, and only where it may go."""

from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from eventbus import PermanentFailure, publish
from eventbus.testing import ArchivedEvent, deliver, prune_this_month, published
from inventory.events import InventoryReservationFailed, InventoryReserved
from inventory.events import Shortage as InventoryShortage
from orders import invariants, services
from orders.consumers import confirm, reject
from orders.events import OrderConfirmed, OrderCreated, OrderRejected
from orders.models import Order
from orders.tests.builders import placed_order

pytestmark = pytest.mark.django_db


def reserved(order_id: Any) -> InventoryReserved:
    return InventoryReserved(order_id=order_id, items=())


def failed(order_id: Any) -> InventoryReservationFailed:
    short = InventoryShortage(product_id="vase", requested=2, available=1)
    return InventoryReservationFailed(order_id=order_id, reason="insufficient_stock", shortages=(short,))


def test_a_reservation_confirms_its_order_once() -> None:
    order = placed_order()
    event = reserved(order.pk)
    assert deliver(event, to=confirm) == 1
    assert deliver(event, to=confirm) == 0
    order.refresh_from_db()
    assert order.status == "CONFIRMED"
    assert order.updated_at > order.created_at
    [told] = published(OrderConfirmed)
    assert (told.order_id, told.customer_email, told.total_amount) == (order.pk, "ada@shop.example", Decimal("45.30"))
    assert [(item.product_name, item.quantity) for item in told.items] == [("Vase", 2), ("Jug", 1)]


def test_a_failed_reservation_rejects_its_order_and_says_why() -> None:
    order = placed_order()
    event = failed(order.pk)
    deliver(event, to=reject)
    deliver(event, to=reject)
    order.refresh_from_db()
    assert order.status == "REJECTED"
    [told] = published(OrderRejected)
    assert (told.reason, told.customer_email) == ("insufficient_stock", "ada@shop.example")
    assert [(short.product_id, short.requested, short.available) for short in told.shortages] == [("vase", 2, 1)]


def test_what_follows_is_caused_by_the_event() -> None:
    orders = [placed_order() for _ in range(3)]
    events = [reserved(order.pk) for order in orders]
    deliver(events, to=confirm)
    causes = dict(ArchivedEvent.objects.filter(type="order.confirmed").values_list("aggregate_id", "causation_id"))
    assert causes == {str(event.order_id): event.envelope.event_id for event in events}
    assert set(ArchivedEvent.objects.filter(type="order.confirmed").values_list("correlation_id", flat=True)) == {
        "test"
    }


def test_the_same_answer_in_another_event_changes_nothing() -> None:
    order = placed_order()
    deliver([reserved(order.pk), reserved(order.pk)], to=confirm)
    deliver(reserved(order.pk), to=confirm)
    assert len(published(OrderConfirmed)) == 1


@pytest.mark.parametrize(("first", "then"), [(confirm, reject), (reject, confirm)])
def test_an_order_that_is_settled_stays_so(first: Any, then: Any) -> None:
    events = {confirm: reserved, reject: failed}
    order = placed_order()
    deliver(events[first](order.pk), to=first)
    settled = Order.objects.get(pk=order.pk).status
    with pytest.raises(PermanentFailure, match=settled):
        deliver(events[then](order.pk), to=then)
    assert Order.objects.get(pk=order.pk).status == settled


@pytest.mark.parametrize(("event", "consumer"), [(reserved, confirm), (failed, reject)])
def test_an_answer_for_an_order_that_nobody_placed_cannot_heal(event: Any, consumer: Any) -> None:
    with pytest.raises(PermanentFailure, match="no order"):
        deliver(event(uuid4()), to=consumer)


def test_one_bad_event_undoes_its_batch_and_then_fails_alone() -> None:
    good, bad = reserved(placed_order().pk), reserved(uuid4())
    with pytest.raises(PermanentFailure):
        deliver([good, bad], to=confirm)
    assert not published(OrderConfirmed)
    assert Order.objects.get().status == "CREATED"
    assert deliver(good, to=confirm) == 1
    assert Order.objects.get().status == "CONFIRMED"


def test_a_batch_takes_as_many_statements_with_twenty_orders_as_with_two() -> None:
    counts = []
    for size in (2, 20):
        events = [reserved(placed_order().pk) for _ in range(size)]
        with CaptureQueriesContext(connection) as found:
            assert deliver(events, to=confirm) == size
        counts.append(len(found))
    assert counts[0] == counts[1]


def test_an_order_can_be_moved_without_the_bus() -> None:
    order = placed_order()
    services.reject_order(order_id=order.pk, reason="fraud")
    services.reject_order(order_id=order.pk, reason="fraud")
    [told] = published(OrderRejected)
    assert (told.reason, told.shortages) == ("fraud", ())


def created_again(order: Order) -> OrderCreated:
    return OrderCreated.model_validate(ArchivedEvent.objects.get(type="order.created", aggregate_id=str(order.pk)).data)


class TestInvariants:
    def test_they_hold_over_what_the_services_do(self) -> None:
        placed_order()
        services.confirm_order(order_id=placed_order().pk)
        services.reject_order(order_id=placed_order().pk, reason="fraud")
        assert invariants.illegal_histories() == invariants.orders_without_event() == []

    def test_a_history_with_an_illegal_move_is_found(self) -> None:
        order = placed_order()
        services.confirm_order(order_id=order.pk)
        with transaction.atomic():
            publish(OrderRejected(**published(OrderConfirmed)[0].model_dump(), reason="late"))
        assert invariants.illegal_histories() == [f"order {order.pk}: event 4 moves it from CONFIRMED to REJECTED"]
        assert len(invariants.orders_without_event()) == 1

    def test_a_history_that_begins_twice_or_late_is_found(self) -> None:
        twice, late = placed_order(), placed_order()
        with transaction.atomic():
            publish(created_again(twice))
            orphan = created_again(late).model_copy(update={"order_id": uuid4()})
            publish(reserved(orphan.order_id), orphan)
        found = invariants.illegal_histories()
        assert len(found) == 2
        assert any(f"order {twice.pk}: event 2 moves it from CREATED to CREATED" in each for each in found)
        assert any(f"order {orphan.order_id}: event 2 moves it from nothing to CREATED" in each for each in found)

    def test_an_order_without_event_an_event_without_order_and_a_silent_change_are_found(self) -> None:
        silent, other = placed_order(), placed_order()
        Order.objects.filter(pk=silent.pk).update(status="CONFIRMED")
        unborn = Order.objects.get(pk=other.pk)
        unborn.pk = uuid4()
        unborn.save(force_insert=True)
        with transaction.atomic():
            orphan = created_again(other).model_copy(update={"order_id": uuid4()})
            publish(orphan)
        found = "\n".join(sorted(invariants.orders_without_event()))
        assert len(invariants.orders_without_event()) == 3
        for order_id in (silent.pk, unborn.pk, orphan.order_id):
            assert str(order_id) in found

    def test_an_order_whose_beginning_was_pruned_is_in_order(self) -> None:
        gone, old, wrong, unknown = (placed_order() for _ in range(4))
        services.confirm_order(order_id=old.pk)
        services.confirm_order(order_id=wrong.pk)
        prune_this_month()
        assert invariants.illegal_histories() == invariants.orders_without_event() == []

        services.confirm_order(order_id=gone.pk)
        assert invariants.illegal_histories() == invariants.orders_without_event() == []

        Order.objects.filter(pk=gone.pk).update(status="CREATED")
        Order.objects.filter(pk=unknown.pk).delete()
        with transaction.atomic():
            publish(OrderConfirmed(**told(wrong)), OrderRejected(**told(wrong), reason="late"))
        assert invariants.illegal_histories() == [f"order {wrong.pk}: event 5 moves it from CONFIRMED to REJECTED"]
        assert sorted(invariants.orders_without_event()) == sorted(
            [
                f"order {gone.pk} is CREATED; its events say CONFIRMED and create it 0 times",
                f"order {wrong.pk} is CONFIRMED; its events say REJECTED and create it 0 times",
            ]
        )


def told(order: Order) -> dict[str, Any]:
    """What every event of an order carries of it, as its confirmation had it."""
    return published(OrderConfirmed)[0].model_copy(update={"order_id": order.pk}).model_dump()
