"""The API beside what an order says: lists, histories, and what is not an order at all."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from api.tests.callers import problem
from eventbus.testing import deliver
from inventory.events import InventoryReserved
from orders import consumers, intake, services
from orders.models import Order, Status
from orders.tests.builders import PATH, Api, an_order, placed_order


class TestOneOrder:
    def test_another_channels_order_is_not_there(self, api: Api) -> None:
        theirs = placed_order()
        for path in (
            f"{PATH}/{theirs.pk}",
            f"{PATH}/{theirs.pk}/events",
            f"{PATH}/{uuid4()}",
            f"{PATH}/none",
            f"{PATH}/",
        ):
            problem(api.get(path), 404)

    def test_staff_see_every_order(self, staff: Any) -> None:
        order = placed_order()
        api = Api(staff)
        assert api.get(f"{PATH}/{order.pk}").json()["orderId"] == str(order.pk)
        assert len(api.get(f"{PATH}/{order.pk}/events").json()["results"]) == 1
        assert len(api.get().json()["results"]) == 1

    def test_its_history_is_its_events_in_order(self, api: Api) -> None:
        order_id = api.place()
        deliver(InventoryReserved(order_id=order_id, items=()), to=consumers.confirm)
        answer = api.get(f"{PATH}/{order_id}/events").json()
        assert [(event["eventType"], event["sequence"]) for event in answer["results"]] == [
            ("order.created", 1),
            ("order.confirmed", 2),
            ("order.status_changed", 3),
        ]
        created = answer["results"][0]
        assert set(created) == {
            *("version", "eventId", "eventType", "aggregateType", "aggregateId", "sequence", "occurredAt"),
            *("metadata", "data"),
        }
        assert created["data"]["orderId"] == created["aggregateId"] == str(order_id)

    def test_amounts_in_a_history_keep_their_digits(self, api: Api) -> None:
        assert b'"totalAmount":45.30' in api.get(f"{PATH}/{api.place()}/events").content


class TestLists:
    def test_a_channel_sees_its_own_newest_first(self, api: Api) -> None:
        placed_order()
        mine = [str(api.place()) for _ in range(3)]
        answer = api.get().json()
        assert [order["orderId"] for order in answer["results"]] == mine[::-1]
        assert (answer["next"], answer["previous"]) == (None, None)

    def test_pages_lead_forth_and_back_without_gap_or_repeat(self, api: Api) -> None:
        mine = [str(api.place()) for _ in range(5)][::-1]
        page = api.get(limit=2, status="CREATED").json()
        seen = [page]
        while page["next"]:
            page = api.client.get(page["next"], headers=api.headers).json()
            seen.append(page)
        assert [[order["orderId"] for order in page["results"]] for page in seen] == [mine[:2], mine[2:4], mine[4:]]
        assert parse_qs(urlsplit(seen[0]["next"]).query).keys() == {"limit", "status", "cursor"}
        back = api.client.get(seen[2]["previous"], headers=api.headers).json()
        assert back["results"] == seen[1]["results"]
        assert api.client.get(back["next"], headers=api.headers).json()["results"] == seen[2]["results"]
        first = api.client.get(back["previous"], headers=api.headers).json()
        assert first == seen[0]

    def test_a_page_takes_as_many_statements_with_ten_orders_as_with_one(self, api: Api) -> None:
        counts = []
        for more in (1, 9):
            for _ in range(more):
                api.place()
            with CaptureQueriesContext(connection) as queries:
                api.get()
            counts.append(len(queries))
        # The token, the orders with their adjustments, and their items.
        assert counts == [3, 3]

    def test_filters_narrow_a_list(self, api: Api) -> None:
        first, second = api.place(customerId="a"), api.place(customerId="b")
        services.confirm_order(order_id=second)
        middle = Order.objects.get(pk=second).created_at

        def found(**query: Any) -> list[str]:
            return [order["orderId"] for order in api.get(**query).json()["results"]]

        assert found(status="CONFIRMED") == found(customerId="b") == [str(second)]
        assert found(createdFrom=middle.isoformat()) == [str(second)]
        assert found(createdTo=middle.isoformat()) == [str(first)]
        assert found(createdTo=middle.isoformat(), status="CONFIRMED") == []
        assert found(createdFrom="0001-01-01T00:00:00Z", createdTo="9999-12-31T23:59:59Z") == [str(second), str(first)]
        assert found(createdFrom="9999-12-31T23:59:59-12:00") == []

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ({"status": "LOST"}, "/status"),
            ({"status": "created"}, "/status"),
            ({"status": "CREATED' OR 1=1 --"}, "/status"),
            ({"customerId": ""}, "/customerId"),
            ({"customerId": "a\0b"}, "/customerId"),
            ({"customerId": "x" * 65}, "/customerId"),
            ({"createdFrom": "yesterday"}, "/createdFrom"),
            ({"createdFrom": "2026-02-01"}, "/createdFrom"),
            ({"createdFrom": "2026-02-01T00:00:00"}, "/createdFrom"),
            ({"createdFrom": "1700000000"}, "/createdFrom"),
            ({"createdTo": "2026-02-30T00:00:00Z"}, "/createdTo"),
            ({"limit": "0"}, "/limit"),
            ({"limit": "201"}, "/limit"),
            ({"limit": "many"}, "/limit"),
            ({"cursor": ""}, "/cursor"),
            ({"cursor": "x"}, "/cursor"),
            ({"cursor": "'; DROP TABLE event; --"}, "/cursor"),
            ({"cursor": "PgGiDCsZwnMSh33Gjuu6fGc="}, "/cursor"),
            ({"cursor": "é"}, "/cursor"),
            ({"ordering": "-total_amount"}, "/ordering"),
            ({"channel__username": "x"}, "/channel__username"),
            ({"status": ["CREATED", "CONFIRMED"]}, "/status"),
        ],
    )
    def test_what_cannot_be_asked_is_a_bad_request(self, api: Api, query: dict[str, Any], pointer: str) -> None:
        body = problem(api.get(**query), 400)
        assert [error["pointer"] for error in body["errors"]] == [pointer]


@pytest.mark.parametrize("depth", [50, 500, 900])
def test_deep_json_is_refused_one_way_or_the_other(api: Api, depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    answer = api.post(b'{"items": ' + nested + b', "x": ' + nested + b"}")
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("name", ["\\ud800", "a\\u0000b", "\\udfff\\ud800"])
def test_half_a_character_or_nul_is_invalid_as_value_and_as_name(api: Api, name: str) -> None:
    text = json.dumps(an_order(totalAmount=0, items=[]))
    assert api.post(text.replace("c-1", name).encode()).status_code == 422
    assert problem(api.post(text.replace("customerId", name).encode()), 422)["errors"]


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, 500), (OperationalError, 503)])
def test_nothing_of_the_server_shows_when_something_breaks(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: type[Exception], status: int
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error("connection to server at 10.0.0.1 failed")

    monkeypatch.setattr(intake, "publish_with", fail)
    assert "10.0.0.1" not in json.dumps(problem(api.post(), status))


def test_every_status_that_the_api_promises_exists() -> None:
    assert set(Status.values) == {"CREATED", "CONFIRMED", "REJECTED", "CANCELLED", "SHIPPED"}
