"""Whatever arrives when and however often, an order ends in one legal state with the stock right."""

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run

from eventbus.monitoring import invariants
from eventbus.worker.models import ProcessedEvent
from inventory import services as inventory
from inventory.models import Stock
from notifications.invariants import doubled_or_missing_mails
from orders import services as orders
from orders.models import Order
from orders.tests.builders import an_item, placed_order
from shipping import services as shipping
from shipping.tests.builders import SOON
from tests.support.pump import Pump

SHELVES = {"cup": 4, "vase": 1}
PLACES = st.integers(0, 1000)
WISHES = st.dictionaries(st.sampled_from(["cup", "vase", "cup", "ufo"]), st.integers(1, 2), min_size=1, max_size=2)


def violations() -> set[str]:
    """What the product's own checks find. Mails are not sent here, and events wait where we want them to."""
    found = {line for each in invariants.INVARIANTS if each.code in {"I1", "I2", "I6"} for line in each.check()}
    return found | {line for line in doubled_or_missing_mails() if "for ever" not in line}


class Interleavings(RuleBasedStateMachine):
    """Channels, staff and the clock act; events are delivered in any order, alone or in batches, and again."""

    placed = Bundle("placed")

    def __init__(self) -> None:
        super().__init__()
        self.run = transaction.atomic()
        self.run.__enter__()
        self.found_before = violations()
        self.pump = Pump()
        self.channel = User.objects.create_user("channel")
        self.wishes: dict[UUID, dict[str, int]] = {}
        self.cancelled: set[UUID] = set()
        self.dispatched: set[UUID] = set()
        self.received = Counter(SHELVES)

    @initialize()
    def fill_the_shelves(self) -> None:
        for product_id, quantity in SHELVES.items():
            inventory.receive_stock(product_id=product_id, product_name=product_id.title(), quantity=quantity)

    # Few, so that much happens to each.
    @precondition(lambda self: len(self.wishes) < 3)
    @rule(target=placed, wishes=WISHES, prepared=st.booleans())
    def place(self, wishes: dict[str, int], prepared: bool) -> UUID:
        items = [an_item(productId=product_id, quantity=quantity) for product_id, quantity in wishes.items()]
        order_id = placed_order(self.channel, items=items).pk
        self.wishes[order_id] = wishes
        self.pump.relay()
        if prepared:
            # Up to where a parcel may go; orders has not heard of it.
            self.catch_up("inventory.reserve_stock", "shipping.prepare")
        return order_id

    @rule(product_id=st.sampled_from(list(SHELVES)))
    def receive(self, product_id: str) -> None:
        inventory.receive_stock(product_id=product_id, quantity=1)
        self.received[product_id] += 1

    @precondition(lambda self: self.pump.waiting)
    @rule(place=PLACES, count=st.integers(1, 3))
    def deliver(self, place: int, count: int) -> None:
        self.pump.run(self.pump.take(place, count))

    @precondition(lambda self: self.pump.waiting)
    @rule(data=st.data())
    def one_consumer_catches_up(self, data: st.DataObject) -> None:
        names = sorted({each.consumer.name for each in self.pump.waiting})
        self.catch_up(data.draw(st.sampled_from(names)))

    def catch_up(self, *names: str) -> None:
        """Let these consumers handle whatever waits for them."""
        while places := [n for n, each in enumerate(self.pump.waiting) if each.consumer.name in names]:
            self.pump.run(self.pump.take(places[0]))

    @precondition(lambda self: self.pump.delivered)
    @rule(place=PLACES, forgotten=st.booleans())
    def deliver_again(self, place: int, forgotten: bool) -> None:
        again = self.pump.delivered[place % len(self.pump.delivered)]
        if forgotten:
            ProcessedEvent.objects.filter(event_id=again.event.envelope.event_id, consumer=again.consumer.name).delete()
        self.pump.run([again])

    @rule(order_id=placed)
    def cancel(self, order_id: UUID) -> None:
        try:
            orders.cancel_order(order_id=order_id, reason="requested")
        except orders.CannotMove:
            assert order_id not in self.cancelled
        else:
            self.cancelled.add(order_id)
        self.pump.relay()

    @rule(order_id=placed)
    def dispatch(self, order_id: UUID) -> None:
        how: dict[str, Any] = {"carrier": "Fast Parcel", "tracking_number": "FP-1"}
        try:
            shipping.dispatch(order_id=order_id, estimated_delivery=SOON, **how)
        except (shipping.CannotDispatch, shipping.NoShipment):
            assert order_id not in self.dispatched
        else:
            self.dispatched.add(order_id)
        self.pump.relay()

    @precondition(lambda self: len(self.wishes) == 3)
    @rule()
    def time_passes(self) -> None:
        orders.cancel_overdue(now=datetime.now(UTC) + django_settings.ORDER_DEADLINE + timedelta(seconds=1))
        self.cancelled |= set(Order.objects.filter(timed_out_at__isnull=False).values_list("pk", flat=True))
        self.pump.relay()

    @invariant()
    def what_was_answered_is_one_thing(self) -> None:
        assert not self.cancelled & self.dispatched

    def teardown(self) -> None:
        try:
            self.pump.drain()
            self.check_the_end()
        finally:
            transaction.set_rollback(True)
            self.run.__exit__(None, None, None)

    def check_the_end(self) -> None:
        assert violations() == self.found_before
        statuses = dict(Order.objects.filter(pk__in=self.wishes).values_list("pk", "status"))
        for order_id, status in statuses.items():
            promised = {"CANCELLED"} if order_id in self.cancelled else {"CONFIRMED", "REJECTED"}
            assert status in ({"SHIPPED"} if order_id in self.dispatched else promised)
        for product_id in SHELVES:
            count = Counter[str]()
            for order_id, wishes in self.wishes.items():
                count[statuses[order_id]] += wishes.get(product_id, 0)
            stock = Stock.objects.get(pk=product_id)
            assert (stock.received, stock.reserved, stock.shipped) == (
                self.received[product_id],
                count["CONFIRMED"],
                count["SHIPPED"],
            )


@pytest.mark.django_db
def test_any_interleaving_ends_legal_with_the_stock_right() -> None:
    run(
        Interleavings,
        settings=settings(
            max_examples=int(os.environ.get("INTERLEAVINGS", "30")),
            stateful_step_count=40,
            deadline=None,
            # No shrinking: every step is a transaction, and a failure would take minutes to be told.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
