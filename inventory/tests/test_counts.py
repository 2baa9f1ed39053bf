"""A count: what lies on the shelf becomes what the books say, unless the stock has moved meanwhile."""

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError
from rest_framework.test import APIClient

from eventbus import StreamConflict
from eventbus.testing import ArchivedEvent, Outbox, deliver
from inventory.consumers import reserve_stock
from inventory.events import StockCorrected, StockLow
from inventory.history import Quantities
from inventory.invariants import stock_unlike_its_history, unbalanced_stock
from inventory.models import Stock
from inventory.queries import stock_now
from inventory.services import BelowReserved, UnknownProduct, correct_stock, receive_stock
from inventory.tests.builders import as_it_is, order_created, signed_in, stream_of
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db

COUNTS = "/api/v1/stock/cup/counts"


@pytest.fixture
def cups() -> None:
    """Twenty cups, three of them set aside."""
    receive_stock(product_id="cup", product_name="Cup", quantity=20)
    deliver(order_created(("cup", 3)), to=reserve_stock)


@pytest.fixture
def staff(db: None) -> APIClient:
    return signed_in(User.objects.create_user("clerk", is_staff=True))


def count(client: APIClient, body: Any, if_match: str | None = '"2"', **headers: Any) -> Any:
    if if_match is not None:
        headers["HTTP_IF_MATCH"] = if_match
    return client.post(COUNTS, body, format="json", **headers)


def corrections() -> list[Any]:
    return [row.data for row in ArchivedEvent.objects.filter(type=StockCorrected.type).order_by("sequence")]


@pytest.mark.usefixtures("cups")
@pytest.mark.parametrize(("counted", "available"), [(18, 15), (25, 22), (20, 17), (3, 0)])
def test_the_books_say_what_was_counted(counted: int, available: int) -> None:
    stock = correct_stock(product_id="cup", counted=counted, expected=2, reason="stocktaking")
    stock.refresh_from_db()
    assert (stock.available, stock.reserved, stock.received) == (available, 3, counted)
    [told] = corrections()
    assert told == {"productId": "cup", "counted": counted, "difference": counted - 20, "reason": "stocktaking"}
    assert unbalanced_stock() == []
    assert stock_unlike_its_history() == []


@pytest.mark.usefixtures("cups")
def test_what_is_set_aside_must_be_there() -> None:
    with pytest.raises(BelowReserved, match="3 are set aside"):
        correct_stock(product_id="cup", counted=2, expected=2, reason="broken")
    assert as_it_is("cup") == Quantities(17, 3)


@pytest.mark.usefixtures("cups")
def test_a_count_of_a_shelf_that_has_changed_is_refused() -> None:
    deliver(order_created(("cup", 1)), to=reserve_stock)
    with pytest.raises(StreamConflict, match="event 3, not at 2"):
        correct_stock(product_id="cup", counted=20, expected=2, reason="stocktaking")
    assert as_it_is("cup") == Quantities(16, 4)


def test_nothing_is_counted_of_what_was_never_received() -> None:
    with pytest.raises(UnknownProduct):
        correct_stock(product_id="ufo", counted=1, expected=0, reason="seen")


@pytest.mark.usefixtures("cups")
def test_a_count_that_finds_little_announces_low_stock() -> None:
    correct_stock(product_id="cup", counted=5, expected=2, reason="broken")
    assert [row.type for row in stream_of("cup")][2:] == [StockCorrected.type, StockLow.type]
    correct_stock(product_id="cup", counted=4, expected=4, reason="broken")
    assert [row.type for row in stream_of("cup")][4:] == [StockCorrected.type]


@pytest.mark.usefixtures("cups")
def test_only_what_others_may_hear_is_sent() -> None:
    correct_stock(product_id="cup", counted=5, expected=2, reason="broken")
    sent = set(ArchivedEvent.objects.filter(id__in=Outbox.objects.values("event_id")).values_list("type", flat=True))
    assert sent == {"inventory.stock.received", "inventory.reserved", StockCorrected.type, StockLow.type}


@pytest.mark.django_db(transaction=True)
def test_of_counts_at_once_from_one_look_one_counts() -> None:
    product_id = f"cup-{uuid4()}"
    receive_stock(product_id=product_id, product_name="Cup", quantity=100)

    def count() -> str:
        try:
            correct_stock(product_id=product_id, counted=90, expected=1, reason="at once")
        except StreamConflict:
            return "moved"
        return "counted"

    def reserve() -> str:
        deliver(order_created((product_id, 1)), to=reserve_stock)
        return "reserved"

    outcomes = at_once([*[count] * 4, *[reserve] * 2])
    assert outcomes.count("counted") <= 1
    assert outcomes.count("reserved") == 2
    assert stock_unlike_its_history() == []
    stream = stream_of(product_id)
    # The order of the changes: each was stamped while it alone had the stock.
    assert [row.occurred_at for row in stream] == sorted(row.occurred_at for row in stream)
    assert [row.sequence for row in stream] == list(range(1, len(stream) + 1))


@pytest.mark.usefixtures("cups")
def test_staff_count_what_they_have_looked_at(staff: APIClient) -> None:
    looked = staff.get("/api/v1/stock/cup")
    assert looked["ETag"] == '"2"'
    answer = count(staff, {"counted": 19, "reason": "one broke"}, looked["ETag"])
    assert answer.status_code == 201
    assert answer.json() == {"productId": "cup", "productName": "Cup", "available": 16, "reserved": 3, "shipped": 0}
    event = ArchivedEvent.objects.get(type=StockCorrected.type)
    assert event.user_id == str(User.objects.get(username="clerk").pk)
    assert event.correlation_id == answer["x-correlation-id"]
    again = count(staff, {"counted": 19, "reason": "one broke"}, looked["ETag"])
    assert (again.status_code, again.json()["type"].rpartition(":")[2]) == (412, "stock-moved")


@pytest.mark.usefixtures("cups")
@pytest.mark.parametrize(
    ("if_match", "status"),
    [(None, 428), ('"1"', 412), ('"3"', 412), ('W/"2"', 201), ("2", 400), ("*", 400), ('"x"', 400), ('"2", "3"', 400)],
)
def test_a_count_says_what_it_looked_at(staff: APIClient, if_match: str | None, status: int) -> None:
    answer = count(staff, {"counted": 20, "reason": "stocktaking"}, if_match)
    assert answer.status_code == status, answer.content
    assert len(corrections()) == (status == 201)


@pytest.mark.usefixtures("cups")
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/counted"),
        ({"counted": -1, "reason": "x"}, "/counted"),
        ({"counted": 2**53, "reason": "x"}, "/counted"),
        ({"counted": "5", "reason": "x"}, "/counted"),
        ({"counted": 5}, "/reason"),
        ({"counted": 5, "reason": ""}, "/reason"),
        ({"counted": 5, "reason": "a\u0000"}, "/reason"),
        ({"counted": 5, "reason": "x" * 201}, "/reason"),
        ({"counted": 5, "reason": "x", "available": 5}, "/available"),
    ],
)
def test_a_wrong_count_is_refused_with_a_pointer(staff: APIClient, body: Any, pointer: str) -> None:
    answer = count(staff, body)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert corrections() == []


@pytest.mark.usefixtures("cups")
def test_a_count_has_other_refusals(staff: APIClient) -> None:
    below = count(staff, {"counted": 2, "reason": "x"})
    assert (below.status_code, below.json()["type"].rpartition(":")[2]) == (409, "below-reserved")
    body = {"counted": 2, "reason": "x"}
    assert staff.post("/api/v1/stock/ufo/counts", body, format="json", HTTP_IF_MATCH='"0"').status_code == 404
    channel = signed_in(User.objects.create_user("channel"))
    assert count(channel, {"counted": 20, "reason": "x"}).status_code == 403
    assert APIClient().post(COUNTS).status_code == 401


@pytest.mark.usefixtures("cups")
def test_a_count_that_is_sent_again_counts_once(staff: APIClient) -> None:
    first = count(staff, {"counted": 19, "reason": "x"}, HTTP_IDEMPOTENCY_KEY="k")
    again = count(staff, {"counted": 19, "reason": "x"}, HTTP_IDEMPOTENCY_KEY="k")
    assert (again.status_code, again.content, again["Idempotent-Replayed"]) == (201, first.content, "true")
    assert len(corrections()) == 1
    assert count(staff, {"counted": 18, "reason": "x"}, HTTP_IDEMPOTENCY_KEY="k").status_code == 422


def test_the_row_cannot_be_made_to_differ_from_the_sum() -> None:
    receive_stock(product_id="cup", product_name="Cup", quantity=20)
    with pytest.raises(IntegrityError):
        Stock.objects.update(available=19)


def test_a_product_without_events_has_a_number_too() -> None:
    Stock.objects.create(product_id="jug", product_name="Jug")
    assert stock_now("jug") == (
        {"product_id": "jug", "product_name": "Jug", "available": 0, "reserved": 0, "shipped": 0},
        0,
    )
    correct_stock(product_id="jug", counted=5, expected=0, reason="found")
    assert as_it_is("jug") == Quantities(5)
