"""What one action led to, over all of the caller's orders: GET /api/v1/events?correlationId=…"""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from eventbus import correlated_with, publish
from inventory.events import InventoryReserved, StockLow
from orders import services
from orders.tests.builders import Api, a_channel, an_order, exact, placed_order, pointers

pytestmark = pytest.mark.django_db

EVENTS = "/api/v1/events"


def types(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [event["eventType"] for event in answer.json()["results"]]


@pytest.fixture
def api() -> Api:
    return Api(a_channel())


def test_an_order_and_what_it_led_to(api: Api) -> None:
    answer = api.post(x_correlation_id="checkout-7")
    with correlated_with("checkout-7"):
        services.confirm_order(order_id=UUID(answer.json()["orderId"]))
    api.place()
    found = api.get(EVENTS, correlationId="checkout-7")
    assert types(found) == ["order.created", "order.confirmed", "order.status_changed"]
    assert exact(found)["results"] == exact(api.get(f"{urlsplit(answer['Location']).path}/events"))["results"]
    assert (found.json()["next"], found.json()["previous"]) == (None, None)


def test_another_channels_orders_and_what_is_of_no_order_stay_hidden(api: Api) -> None:
    """A correlation id is no secret and nobody's own: two channels may send the same."""
    api.post(x_correlation_id="shared")
    with correlated_with("shared"):
        theirs = placed_order()
        services.confirm_order(order_id=theirs.pk)
        with transaction.atomic():
            publish(StockLow(product_id="not-an-order", available=1, threshold=5))
            publish(InventoryReserved(order_id=uuid4(), items=()))
    assert types(api.get(EVENTS, correlationId="shared")) == ["order.created"]
    assert types(Api(a_channel()).get(EVENTS, correlationId="shared")) == []
    staff = types(Api(a_channel(is_staff=True)).get(EVENTS, correlationId="shared"))
    assert staff == ["order.created"] * 2 + ["order.confirmed", "order.status_changed", "inventory.reserved"]


def test_pages_lead_to_the_end_without_gap_or_repeat(api: Api) -> None:
    for number in range(5):
        api.post(an_order(customerId=f"c-{number}"), x_correlation_id="import")
    whole = api.get(EVENTS, correlationId="import").json()["results"]
    page = api.get(EVENTS, correlationId="import", limit=2).json()
    seen = [page["results"]]
    while page["next"]:
        page = api.client.get(page["next"], headers=api.headers).json()
        seen.append(page["results"])
    assert [len(each) for each in seen] == [2, 2, 1]
    assert [event for each in seen for event in each] == whole
    assert [event["data"]["customer"]["id"] for event in whole] == [f"c-{number}" for number in range(5)]


def test_it_takes_one_statement_beside_the_token(api: Api) -> None:
    api.post(x_correlation_id="one")
    with CaptureQueriesContext(connection) as found:
        api.get(EVENTS, correlationId="one")
    assert len(found) == 2


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ({}, "/correlationId", "missing"),
        ({"correlationId": ""}, "/correlationId", "string_too_short"),
        ({"correlationId": "a\nb"}, "/correlationId", "string_pattern_mismatch"),
        ({"correlationId": "x" * 129}, "/correlationId", "too_long"),
        ({"correlationId": "a", "after": "1"}, "/after", "uuid_parsing"),
    ],
)
def test_a_query_that_cannot_be_is_refused(api: Api, query: Any, pointer: str, code: str) -> None:
    answer = api.get(EVENTS, **query)
    assert (answer.status_code, pointers(answer)) == (400, {pointer: code})
