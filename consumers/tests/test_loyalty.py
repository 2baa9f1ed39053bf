"""Points are the same whatever arrives when and however often."""

import random

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from consumers.loyalty import LoyaltyAccount, count_points
from consumers.tests.builders import item, order_shipped
from eventbus.testing import deliver

pytestmark = pytest.mark.django_db


def points() -> dict[str, tuple[int, int]]:
    return {account.customer_id: (account.points, account.orders) for account in LoyaltyAccount.objects.all()}


def test_a_shipped_order_earns_points_once() -> None:
    shipped = order_shipped(items=(item(2), item(3)))
    assert deliver(shipped, to=count_points) == 1
    assert deliver(shipped, to=count_points) == 0
    assert points() == {"c-1": (15, 1)}


def test_the_points_are_the_same_in_any_order_alone_or_together() -> None:
    events = [order_shipped(customer_id=f"c-{n % 3}", items=(item(n + 1),)) for n in range(9)]
    deliver(events, to=count_points)
    together = list(LoyaltyAccount.objects.values())
    LoyaltyAccount.objects.all().delete()

    random.Random(4).shuffle(events)
    for event in events:
        # To the inbox it is another event; its envelope tells the same moment.
        event._envelope = event.envelope.model_copy(update={"event_id": event.order_id})
        deliver(event, to=count_points)
    assert list(LoyaltyAccount.objects.values()) == together
    assert points() == {"c-0": (42, 3), "c-1": (45, 3), "c-2": (48, 3)}


def test_a_batch_takes_one_statement_beside_the_inbox() -> None:
    with CaptureQueriesContext(
        connection,
    ) as one:
        deliver(order_shipped(), to=count_points)
    with CaptureQueriesContext(connection) as many:
        deliver([order_shipped(customer_id=f"c-{n}") for n in range(20)], to=count_points)
    assert len(many) == len(one)


@pytest.mark.parametrize(("earned", "level"), [(0, "bronze"), (249, "bronze"), (250, "silver"), (1000, "gold")])
def test_points_lead_to_a_level(earned: int, level: str) -> None:
    assert LoyaltyAccount(points=earned).level == level


def test_staff_see_the_accounts_and_change_nothing(admin_client: Client) -> None:
    deliver(order_shipped(customer_id="c-seen"), to=count_points)
    page = admin_client.get("/admin/consumers/loyaltyaccount/", {"q": "c-seen"}).content.decode()
    assert "c-seen" in page
    assert "bronze" in page
    assert admin_client.get("/admin/consumers/loyaltyaccount/add/").status_code == 403
