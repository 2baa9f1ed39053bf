"""The same orders end with the same flags, however they arrive, and each flag is announced once."""

import random
from datetime import timedelta
from decimal import Decimal
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test import Client

from consumers.fraud import FraudFlag, FraudOrder, FraudOrderFlagged, flag_orders
from consumers.tests.builders import NOON, address, item, order_created
from eventbus.testing import ArchivedEvent, ProcessedEvent, deliver, published
from orders.events import OrderCreated
from script._lib.waiting import wait_until

pytestmark = pytest.mark.django_db


def flags() -> set[tuple[UUID, str]]:
    return set(FraudFlag.objects.values_list("order_id", "rule"))


def orders(count: int, *, every: timedelta = timedelta(minutes=1), **changes: Any) -> list[OrderCreated]:
    """So many orders of one customer, one after the other."""
    return [order_created(created_at=NOON + n * every, **changes) for n in range(count)]


def addressed(*streets: str) -> list[OrderCreated]:
    """Orders of several customers with one e-mail, one after the other."""
    return [
        order_created(customer_id=f"c-{n}", shipping_address=address(street), created_at=NOON + n * timedelta(hours=2))
        for n, street in enumerate(streets)
    ]


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({}, set()),
        ({"total_amount": Decimal("4999.99")}, set()),
        ({"total_amount": Decimal(5000)}, {"amount"}),
        ({"total_amount": Decimal(5000), "currency": "JPY"}, set()),
        ({"total_amount": Decimal(10**9), "currency": "XAF"}, set()),
        ({"items": (item(99),)}, set()),
        ({"items": (item(1), item(100)), "total_amount": Decimal(5000)}, {"amount", "pieces"}),
    ],
)
def test_an_order_can_be_suspicious_by_itself(changes: dict[str, Any], rules: set[str]) -> None:
    event = order_created(**changes)
    assert deliver(event, to=flag_orders) == 1
    assert deliver(event, to=flag_orders) == 0
    assert flags() == {(event.order_id, rule) for rule in rules}
    assert sorted(flagged.rule for flagged in published(FraudOrderFlagged)) == sorted(rules)


def test_many_orders_within_an_hour_are_suspicious_from_the_fifth_on() -> None:
    hasty = orders(6)
    deliver(hasty, to=flag_orders)
    assert flags() == {(event.order_id, "orders") for event in hasty[4:]}


def test_the_same_number_over_a_longer_time_is_not() -> None:
    deliver(orders(6, every=timedelta(minutes=20)), to=flag_orders)
    assert flags() == set()


def test_many_addresses_for_one_email_are_suspicious() -> None:
    events = addressed("1 Main St", "2 Main St", "3 Main St", "3 main st ", "4 Main St")
    deliver(events, to=flag_orders)
    assert flags() == {(events[-1].order_id, "addresses")}


def test_an_order_that_comes_late_flags_those_after_it() -> None:
    first, *later = orders(5)
    deliver(later, to=flag_orders)
    assert flags() == set()
    stranger = order_created(customer_id="c-2", customer_email="joe@customer.example")
    deliver([stranger, first], to=flag_orders)
    assert flags() == {(later[-1].order_id, "orders")}
    (row,) = ArchivedEvent.objects.filter(type=FraudOrderFlagged.type)
    assert row.causation_id == first.envelope.event_id


def test_the_flags_are_the_same_in_any_order_alone_or_together() -> None:
    events = [*orders(12, every=timedelta(minutes=9)), *addressed(*(f"{n % 5} Main St" for n in range(12)))]
    # So many that no rule can have looked at the last few only.
    events += orders(60, customer_id="c-busy", customer_email="busy@customer.example")[3:]
    events += [
        order_created(customer_email="busy@customer.example", shipping_address=address(street), created_at=NOON)
        for street in ("2 Main St", "3 Main St", "4 Main St")
    ]
    deliver(events, to=flag_orders)
    expected, told = flags(), len(published(FraudOrderFlagged))
    assert {rule for _, rule in expected} == {"orders", "addresses"}
    assert told == len(expected)
    for seed in range(5):
        forget()
        random.Random(seed).shuffle(events)
        for start in range(0, len(events), seed + 1):
            deliver(events[start : start + seed + 1], to=flag_orders)
        assert flags() == expected
        assert len(published(FraudOrderFlagged)) == told * (seed + 2)


@pytest.mark.parametrize("seed", range(12))
def test_the_flags_are_those_that_counting_everything_finds(seed: int) -> None:
    chance = random.Random(seed)
    # Few moments, so that many orders share one.
    events = [
        order_created(
            customer_id=f"c-{chance.randrange(3)}",
            customer_email=f"{chance.randrange(2)}@customer.example",
            shipping_address=address(f"{chance.randrange(6)} Main St"),
            created_at=NOON + chance.randrange(60) * timedelta(minutes=chance.choice([5, 7, 90])),
        )
        for _ in range(40)
    ]
    for batch in (1, 3, 40):
        forget()
        for start in range(0, len(events), batch):
            deliver(events[start : start + batch], to=flag_orders)
        assert flags() == counted(events)


def counted(events: list[OrderCreated]) -> set[tuple[UUID, str]]:
    """The flags of the rules that look back, by comparing each order with each other."""
    found = set()
    for event in events:
        place = (event.created_at, event.order_id)
        before = [other for other in events if (other.created_at, other.order_id) <= place]
        hour = event.created_at - timedelta(hours=1)
        if sum(1 for each in before if each.customer.id == event.customer.id and each.created_at >= hour) >= 5:
            found.add((event.order_id, "orders"))
        same = [each for each in before if each.customer.email == event.customer.email]
        day = event.created_at - timedelta(days=1)
        if len({each.shipping_address.street for each in same if each.created_at >= day}) >= 4:
            found.add((event.order_id, "addresses"))
    return found


def test_a_replay_that_the_inbox_has_forgotten_flags_nothing_twice() -> None:
    events = orders(6)
    deliver(events, to=flag_orders)
    ProcessedEvent.objects.all().delete()
    deliver(events, to=flag_orders)
    assert len(published(FraudOrderFlagged)) == len(flags()) == 2


def test_the_flags_are_not_in_the_orders_own_stream() -> None:
    event = order_created(total_amount=Decimal(5000))
    deliver(event, to=flag_orders)
    (row,) = ArchivedEvent.objects.filter(type=FraudOrderFlagged.type)
    assert row.aggregate_id not in (str(event.order_id), event.customer.id)


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_miss_nothing() -> None:
    events = orders(5)
    other = Thread(target=_deliver_elsewhere, args=(events[3:],))
    with transaction.atomic():
        deliver(events[:3], to=flag_orders)
        other.start()
        wait_until(_somebody_waits, 30, "the other worker to wait for its turn")
    other.join(30)
    assert flags() == {(events[-1].order_id, "orders")}


def test_staff_see_the_flags_and_change_nothing(admin_client: Client) -> None:
    event = order_created(total_amount=Decimal(5000))
    deliver(event, to=flag_orders)
    for term in (str(event.order_id), event.customer.id):
        page = admin_client.get("/admin/consumers/fraudflag/", {"q": term}).content.decode()
        assert "unusually large amount" in page
    assert admin_client.get("/admin/consumers/fraudflag/add/").status_code == 403


def forget() -> None:
    for model in (FraudFlag, FraudOrder, ProcessedEvent):
        model.objects.all().delete()


def _deliver_elsewhere(events: list[OrderCreated]) -> None:
    try:
        deliver(events, to=flag_orders)
    finally:
        connection.close()


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
        (found,) = cursor.fetchone() or (False,)
    return bool(found)
