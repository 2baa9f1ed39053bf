from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from eventbus.testing import ArchivedEvent, prune_this_month
from inventory.models import Stock
from inventory.services import receive_stock
from inventory.tests.builders import shelve, signed_in, stream_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def channel() -> APIClient:
    return signed_in(User.objects.create_user("channel"))


@pytest.fixture
def staff() -> APIClient:
    return signed_in(User.objects.create_user("clerk", is_staff=True))


def receive(client: APIClient, product_id: str, body: object) -> Any:
    return client.post(f"/api/v1/stock/{quote(product_id, safe='')}/receipts", body, format="json")


def test_a_channel_reads_the_stock_of_a_product(channel: APIClient) -> None:
    shelve("cup.red-1", 3)
    answer = channel.get("/api/v1/stock/cup.red-1")
    assert answer.status_code == 200
    assert answer.json() == {
        "productId": "cup.red-1",
        "productName": "Cup.Red-1",
        "available": 3,
        "reserved": 0,
        "shipped": 0,
    }


@pytest.mark.parametrize("product_id", ["a/b", "50% off", "Kaffeetasse größer", "?q=1#x", "..", "a\\b", "'; --"])
def test_an_id_may_hold_anything_that_prints(staff: APIClient, product_id: str) -> None:
    assert receive(staff, product_id, {"quantity": 1, "productName": "x"}).status_code == 201
    answer = staff.get(f"/api/v1/stock/{quote(product_id, safe='')}")
    assert answer.json()["productId"] == product_id


@pytest.mark.parametrize("path", ["ufo", "a%00b", "a%0Ab", "x" * 65, "a%ffb"])
def test_what_is_no_product_is_not_found(channel: APIClient, path: str) -> None:
    answer = channel.get(f"/api/v1/stock/{path}")
    assert answer.status_code == 404
    assert answer["content-type"] == "application/problem+json"


def test_the_list_is_read_page_by_page_in_both_directions(channel: APIClient) -> None:
    for n in range(7):
        shelve(f"p {n}", n)
    pages, url = [], "/api/v1/stock?limit=3"
    while url:
        page = channel.get(url).json()
        pages.append([stock["productId"] for stock in page["results"]])
        last, url = page, page["next"]
    assert pages == [["p 0", "p 1", "p 2"], ["p 3", "p 4", "p 5"], ["p 6"]]
    back = channel.get(last["previous"]).json()
    assert [stock["productId"] for stock in back["results"]] == ["p 3", "p 4", "p 5"]
    first = channel.get(back["previous"]).json()
    assert [stock["productId"] for stock in first["results"]] == ["p 0", "p 1", "p 2"]
    assert first["previous"] is None
    assert channel.get(first["next"]).json()["results"] == back["results"]


def test_an_empty_list_is_a_list(channel: APIClient) -> None:
    assert channel.get("/api/v1/stock").json() == {"results": [], "next": None, "previous": None}


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=x", "after=%00", "after=" + "x" * 65, "ordering=1;drop", "after=a&before=b"],
)
def test_a_query_that_makes_no_sense_is_refused(channel: APIClient, query: str) -> None:
    answer = channel.get(f"/api/v1/stock?{query}")
    assert answer.status_code == 400
    assert answer["content-type"] == "application/problem+json"


def test_staff_receive_goods_and_the_event_says_who(staff: APIClient) -> None:
    answer = receive(staff, "cup", {"quantity": 5, "productName": "Cup"})
    assert answer.status_code == 201
    assert answer.json() == {"productId": "cup", "productName": "Cup", "available": 5, "reserved": 0, "shipped": 0}
    event = ArchivedEvent.objects.get(type="inventory.stock.received", aggregate_id="cup")
    assert event.user_id == str(User.objects.get(username="clerk").pk)
    assert event.correlation_id == answer["x-correlation-id"]


def test_a_channel_receives_no_goods(channel: APIClient) -> None:
    answer = receive(channel, "cup", {"quantity": 5, "productName": "Cup"})
    assert answer.status_code == 403
    assert not Stock.objects.exists()


@pytest.mark.parametrize("url", ["/api/v1/stock", "/api/v1/stock/cup", "/api/v1/stock/cup/receipts"])
def test_without_a_token_there_is_nothing(url: str) -> None:
    answer = APIClient().post(url) if url.endswith("receipts") else APIClient().get(url)
    assert answer.status_code == 401
    assert "www-authenticate" in answer.headers


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/quantity"),
        ({"quantity": 0}, "/quantity"),
        ({"quantity": -1}, "/quantity"),
        ({"quantity": 2**31}, "/quantity"),
        ({"quantity": 10**40}, "/quantity"),
        ({"quantity": "5"}, "/quantity"),
        ({"quantity": 1.5}, "/quantity"),
        ({"quantity": True}, "/quantity"),
        ({"quantity": None}, "/quantity"),
        ({"quantity": 1, "productName": ""}, "/productName"),
        ({"quantity": 1, "productName": 7}, "/productName"),
        ({"quantity": 1, "productName": "  "}, "/productName"),
        ({"quantity": 1, "productName": "a\nb"}, "/productName"),
        ({"quantity": 1, "productName": "a\u0000b"}, "/productName"),
        ({"quantity": 1, "productName": "x" * 201}, "/productName"),
        ({"quantity": 1}, "/productName"),
        ({"quantity": 1, "productName": "Cup", "available": 9}, "/available"),
        ([1], ""),
        ("5", ""),
    ],
)
def test_a_wrong_receipt_is_refused_with_a_pointer(staff: APIClient, body: object, pointer: str) -> None:
    answer = receive(staff, "cup", body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert not Stock.objects.exists()


def test_an_id_of_spaces_only_names_no_product(staff: APIClient) -> None:
    answer = receive(staff, "  ", {"quantity": 5, "productName": "Cup"})
    assert (answer.status_code, [error["code"] for error in answer.json()["errors"]]) == (422, ["blank_product_id"])
    assert not Stock.objects.exists()


def test_half_a_character_in_a_name_is_refused(staff: APIClient) -> None:
    answer = staff.post(
        "/api/v1/stock/cup/receipts", rb'{"quantity": 1, "productName": "\ud800"}', content_type="application/json"
    )
    assert answer.status_code == 422


def test_the_wrong_method_and_the_wrong_content_type(staff: APIClient) -> None:
    assert staff.delete("/api/v1/stock/cup").status_code == 405
    assert staff.post("/api/v1/stock/cup/receipts", "quantity=1", content_type="text/plain").status_code == 415
    assert staff.post("/api/v1/stock/cup/receipts", "{", content_type="application/json").status_code == 400


def test_the_stock_of_a_moment_has_the_shape_of_the_stock(channel: APIClient) -> None:
    receive_stock(product_id="cup", product_name="Cup", quantity=5)
    between = datetime.now(UTC)
    receive_stock(product_id="cup", quantity=2)
    answer = channel.get("/api/v1/stock/cup", {"asOf": between.isoformat()})
    assert answer.status_code == 200
    assert answer.json() == {
        "productId": "cup",
        "productName": "Cup",
        "available": 5,
        "reserved": 0,
        "shipped": 0,
        "asOf": between.isoformat().replace("+00:00", "Z"),
    }
    elsewhere = between.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()
    assert channel.get("/api/v1/stock/cup", {"asOf": elsewhere}).json() == answer.json()
    now = channel.get("/api/v1/stock/cup", {"asOf": datetime.now(UTC).isoformat()}).json()
    assert {key: now[key] for key in now if key != "asOf"} == channel.get("/api/v1/stock/cup").json()


@pytest.mark.parametrize(
    "query",
    [
        "asOf=", "asOf=yesterday", "asOf=1700000000", "asOf=2026-02-01", "asOf=2026-02-01T00:00:00",
        "asOf=2026-13-01T00:00:00Z", "asOf=9999-12-31T23:59:59Z", "asof=2026-02-01T00:00:00Z", "x=1", "asOf=%00",
    ],
)  # fmt: skip
def test_what_is_no_moment_of_the_past_is_a_bad_request(channel: APIClient, query: str) -> None:
    shelve("cup", 1)
    answer = channel.get(f"/api/v1/stock/cup?{query}")
    assert answer.status_code == 400, answer.content
    assert answer["content-type"] == "application/problem+json"


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z", "2020-01-01T00:00:00Z"])
def test_before_a_product_was_there_it_is_not_found(channel: APIClient, moment: str) -> None:
    receive_stock(product_id="cup", product_name="Cup", quantity=5)
    assert channel.get("/api/v1/stock/cup", {"asOf": moment}).status_code == 404
    assert channel.get("/api/v1/stock/ufo", {"asOf": moment}).status_code == 404


def test_where_the_history_does_not_reach_the_problem_says_so(channel: APIClient) -> None:
    receive_stock(product_id="cup", product_name="Cup", quantity=3)
    received = stream_of("cup")[0].occurred_at
    prune_this_month()
    answer = channel.get("/api/v1/stock/cup", {"asOf": "2026-01-01T00:00:00Z"})
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("history-begins")
    assert f"{received:%Y-%m-%dT%H:%M:%S}" in answer.json()["detail"]
    assert channel.get("/api/v1/stock/cup", {"asOf": received.isoformat()}).json()["available"] == 3


def test_stock_and_its_number_are_read_in_one_statement(channel: APIClient) -> None:
    receive_stock(product_id="cup", product_name="Cup", quantity=5)
    with CaptureQueriesContext(connection) as captured:
        assert channel.get("/api/v1/stock/cup")["ETag"] == '"1"'
    assert len(captured) == 1
