"""An order as it was."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventbus import publish
from eventbus.testing import ArchivedEvent, empty_bus
from orders import queries, services
from orders.events import OrderConfirmed
from orders.models import Order
from orders.services import Dispatch
from orders.tests.builders import PATH, Api, exact, placed_order

pytestmark = pytest.mark.django_db

MOMENT = datetime(2026, 2, 1, tzinfo=UTC)


def as_of(api: Api, order_id: object, moment: object) -> Any:
    return api.get(f"{PATH}/{order_id}", asOf=moment.isoformat() if isinstance(moment, datetime) else moment)


def test_at_each_moment_it_is_what_it_was(api: Api) -> None:
    order_id = api.place()
    seen = [exact(api.get(f"{PATH}/{order_id}"))]
    services.confirm_order(order_id=order_id)
    seen.append(exact(api.get(f"{PATH}/{order_id}")))
    services.ship_orders({order_id: Dispatch("Fast Parcel", "FP-1", MOMENT.date())})
    seen.append(exact(api.get(f"{PATH}/{order_id}")))
    assert [order["status"] for order in seen] == ["CREATED", "CONFIRMED", "SHIPPED"]
    for order in seen:
        assert exact(as_of(api, order_id, order["updatedAt"])) == order
    before = datetime.fromisoformat(seen[1]["updatedAt"]) - timedelta(microseconds=1)
    assert exact(as_of(api, order_id, before)) == seen[0]
    assert exact(as_of(api, order_id, datetime.now(UTC))) == seen[2]


def test_before_it_was_placed_it_is_not_there(api: Api) -> None:
    order = api.get(f"{PATH}/{api.place()}").json()
    before = datetime.fromisoformat(order["createdAt"]) - timedelta(microseconds=1)
    assert as_of(api, order["orderId"], before).status_code == 404
    assert as_of(api, order["orderId"], "1000-01-01T00:00:00Z").status_code == 404


@pytest.mark.parametrize("end", ["cancel", "reject"])
def test_the_other_ends_are_told_too(api: Api, end: str) -> None:
    order_id = api.place()
    if end == "cancel":
        services.cancel_order(order_id=order_id, reason="x")
    else:
        services.reject_order(order_id=order_id, reason="insufficient_stock")
    order = exact(api.get(f"{PATH}/{order_id}"))
    assert exact(as_of(api, order_id, order["updatedAt"])) == order
    assert as_of(api, order_id, order["createdAt"]).json()["status"] == "CREATED"


def test_another_channels_order_has_no_past_either(api: Api) -> None:
    assert as_of(api, placed_order().pk, datetime.now(UTC)).status_code == 404


@pytest.mark.parametrize("moment", ["", "x", "2026-02-01", "2026-02-01T00:00:00", "9999-01-01T00:00:00Z", "1"])
def test_what_is_no_moment_of_the_past_is_a_bad_request(api: Api, moment: str) -> None:
    answer = as_of(api, api.place(), moment)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "/asOf"


def test_a_misspelt_question_is_not_answered_with_the_present(api: Api) -> None:
    assert api.get(f"{PATH}/{api.place()}", asof="2026-02-01T00:00:00Z").status_code == 400


def test_what_the_archive_no_longer_has_is_not_guessed(api: Api) -> None:
    order_id = api.place()
    empty_bus()
    answer = as_of(api, order_id, datetime.now(UTC))
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "history-gone")


def test_events_that_were_stamped_by_another_clock_are_told_in_their_order(api: Api) -> None:
    order = Order.objects.get(pk=api.place())
    told = {
        "order_id": order.pk,
        "customer_id": "c",
        "customer_email": "c@shop.example",
        "items": (),
        "total_amount": 1,
    }
    publish(OrderConfirmed(**told, currency="USD"), at=order.created_at - timedelta(seconds=5))
    assert ArchivedEvent.objects.filter(aggregate_id=str(order.pk)).count() == 2
    before = queries.as_of(order, order.created_at - timedelta(seconds=1))
    assert before is None
    now = queries.as_of(queries.orders_of(None).get(pk=order.pk), order.created_at)
    assert now is not None
    assert now["status"] == "CONFIRMED"
