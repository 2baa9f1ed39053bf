"""One key, one order."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from api.models import IdempotencyKey
from eventbus.testing import Outbox
from orders import api as orders_api
from orders import services
from orders.models import Order
from orders.tests.builders import Api, a_channel, an_item, an_order
from tests.support.threads import at_once


def test_a_repeat_gets_the_first_answer_again(api: Api) -> None:
    first = api.post(idempotency_key="k")
    again = api.post(idempotency_key="k")
    assert (again.status_code, again.content, again["Location"]) == (201, first.content, first["Location"])
    assert again["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert Order.objects.count() == Outbox.objects.count() == 1


def test_a_repeat_gets_the_first_answer_even_when_the_order_has_moved_on(api: Api) -> None:
    first = api.post(idempotency_key="k")
    services.confirm_order(order_id=UUID(first.json()["orderId"]))
    assert api.post(idempotency_key="k").content == first.content


def test_the_same_order_written_otherwise_is_a_repeat(api: Api) -> None:
    body = an_order()
    first = api.post(body, idempotency_key="k")
    respelled = dict(reversed(body.items()))
    respelled["items"] = [
        an_item(unitPrice=Decimal("19.9")),
        {**body["items"][1], "unitPrice": Decimal("5.5")},
    ]
    del respelled["currency"]
    assert api.post(respelled, idempotency_key="k").content == first.content


def test_another_order_under_a_used_key_is_refused(api: Api) -> None:
    api.post(idempotency_key="k")
    answer = api.post(an_order(customerId="someone else"), idempotency_key="k")
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("idempotency-key-reused")
    assert Order.objects.count() == 1


def test_without_a_key_every_request_is_an_order(api: Api) -> None:
    api.post()
    api.post()
    assert Order.objects.count() == 2


def test_a_key_costs_two_statements_and_a_transaction(api: Api) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert api.post(idempotency_key="k").status_code == 201
    # The token's look-up, the key's lock, its earlier answer, and all the rest at once.
    assert len([query for query in queries if "SAVEPOINT" not in query["sql"]]) == 4


def test_dying_before_the_commit_leaves_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders_api, "failpoint", die_at("intake.before_commit"))
    assert api.post(idempotency_key="k").status_code == 500
    assert [model.objects.count() for model in (Order, Outbox, IdempotencyKey)] == [0, 0, 0]


@pytest.mark.django_db(transaction=True)
def test_dying_after_the_commit_leaves_an_order_that_a_repeat_finds(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders_api, "failpoint", die_at("intake.after_commit"))
    assert api.post(idempotency_key="k").status_code == 500
    order = Order.objects.get()
    monkeypatch.undo()
    assert api.post(idempotency_key="k").json()["orderId"] == str(order.pk)


def die_at(point: str) -> Any:
    def failpoint(name: str) -> None:
        if name == point:
            raise RuntimeError(f"dead at {name}")

    return failpoint


@pytest.mark.django_db(transaction=True)
def test_a_hundred_repeats_at_once_make_one_order(api: Api) -> None:
    def until_answered() -> str:
        while True:
            answer = api.post(idempotency_key="k")
            if answer.status_code == 201:
                return str(answer.json()["orderId"])
            assert (answer.status_code, answer["Retry-After"]) == (409, "1")

    # Twenty connections, five rounds each: PostgreSQL has not a hundred to give.
    answers = at_once([lambda: [until_answered() for _ in range(5)]] * 20)
    orders = Counter(order_id for each in answers for order_id in each)
    [order] = Order.objects.all()
    assert orders == {str(order.pk): 100}
    assert Outbox.objects.filter(aggregate_id=str(order.pk)).count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_request_in_flight_makes_its_repeats_wait_outside(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, may_commit = Event(), Event()

    def hold(name: str) -> None:
        if name == "intake.before_commit" and not stored.is_set():
            stored.set()
            assert may_commit.wait(timeout=30)

    def first() -> Any:
        try:
            return api.post(idempotency_key="k")
        finally:
            connection.close()

    monkeypatch.setattr(orders_api, "failpoint", hold)
    with ThreadPoolExecutor(1) as pool:
        flying = pool.submit(first)
        assert stored.wait(timeout=30)
        for body in (an_order(), an_order(customerId="someone else")):
            answer = api.post(body, idempotency_key="k")
            assert (answer.status_code, answer["Retry-After"]) == (409, "1")
        assert api.post(idempotency_key="another").status_code == 201
        assert Api(a_channel()).post(idempotency_key="k").status_code == 201
        may_commit.set()
        answer = flying.result(timeout=30)
    assert answer.status_code == 201
    assert api.post(idempotency_key="k").content == answer.content
