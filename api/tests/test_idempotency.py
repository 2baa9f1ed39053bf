"""One key, one action: on an endpoint that makes a group of users, and refuses to make it twice."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Group, User
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from api import idempotency, tasks
from api.models import IdempotencyKey
from api.tests.callers import Caller, problem

A, B = "/api/groups/a", "/api/groups/b"


def test_a_repeat_gets_the_first_answer_again(caller: Caller) -> None:
    first = caller.post(A, idempotency_key="k")
    again = caller.post(A, idempotency_key="k")
    assert (again.status_code, again.content, again["Content-Type"]) == (201, first.content, "application/json")
    assert again["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert Group.objects.count() == 1


def test_without_a_key_every_request_acts(caller: Caller) -> None:
    assert caller.post(A).status_code == 201
    assert problem(caller.post(A), 409)["type"].endswith(":there-already")


@pytest.mark.parametrize(("path", "body"), [(A, {"name": "other"}), (B, b""), (B, {"name": "other"})])
def test_another_request_under_a_used_key_is_refused(caller: Caller, path: str, body: Any) -> None:
    caller.post(A, idempotency_key="k")
    assert problem(caller.post(path, body, idempotency_key="k"), 422)["type"].endswith(":idempotency-key-reused")
    assert Group.objects.count() == 1


def test_the_same_request_written_otherwise_is_a_repeat(caller: Caller) -> None:
    first = caller.post(A, idempotency_key="k")
    assert caller.post(A, b' { "name" : "nobod\\u0079" } ', idempotency_key="k").content == first.content


def test_what_is_refused_does_not_use_its_key_up(caller: Caller) -> None:
    Group.objects.create(name="a/nobody")
    assert caller.post(A, {"name": 7}, idempotency_key="k").status_code == 422
    assert caller.post(A, idempotency_key="k").status_code == 409
    assert not IdempotencyKey.objects.exists()
    assert caller.post(B, idempotency_key="k").status_code == 201


def test_everyones_keys_are_their_own(caller: Caller) -> None:
    caller.post(A, idempotency_key="k")
    other = Caller(User.objects.create_user("other"))
    assert other.post(B, idempotency_key="k").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "x" * 10_000, "tab\there", "ümlaut", "\x7f"])
def test_what_cannot_be_a_key_is_a_bad_request(caller: Caller, key: str) -> None:
    assert problem(caller.post(A, idempotency_key=key), 400)["type"].endswith(":idempotency-key-invalid")
    assert not Group.objects.exists()


@pytest.mark.parametrize("key", ["x", "x" * 255, "a b", "'; DROP TABLE event; --"])
def test_any_short_printable_text_is_a_key(caller: Caller, key: str) -> None:
    assert caller.post(A, idempotency_key=key).content == caller.post(A, idempotency_key=key).content


def test_a_key_may_be_used_again_after_a_day(caller: Caller) -> None:
    with a_day_ago():
        caller.post(A, idempotency_key="k")
    again = caller.post(B, idempotency_key="k")
    assert again.json()["name"] == "b/nobody"
    assert caller.post(B, idempotency_key="k").content == again.content


def test_forgotten_keys_are_cleaned_up_and_fresh_ones_kept(caller: Caller) -> None:
    with a_day_ago():
        caller.post(A, idempotency_key="old")
    caller.post(B, idempotency_key="new")
    tasks.forget_old_keys()
    assert [row.key for row in IdempotencyKey.objects.all()] == ["new"]
    assert Group.objects.count() == 2


@contextmanager
def a_day_ago() -> Iterator[None]:
    with time_machine.travel(datetime.now(UTC) - idempotency.KEY_LIFE - timedelta(seconds=1), tick=False):
        yield


@pytest.mark.django_db(transaction=True)
def test_of_repeats_at_once_one_acts_and_the_others_get_its_answer_or_wait(caller: Caller) -> None:
    def until_answered(_: int) -> bytes:
        try:
            while True:
                answer = caller.post(A, idempotency_key="k")
                if answer.status_code == 201:
                    return bytes(answer.content)
                assert problem(answer, 409)["type"].endswith(":idempotency-key-in-flight")
                assert answer["Retry-After"] == "1"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        answers = Counter(pool.map(until_answered, range(40), timeout=60))
    assert list(answers.values()) == [40]
    assert Group.objects.count() == 1


def test_a_key_costs_three_statements(caller: Caller) -> None:
    counts = []
    for key in ({}, {"idempotency_key": "k"}):
        with CaptureQueriesContext(connection) as queries:
            caller.post(A if key else B, **key)
        counts.append(len([query for query in queries if "SAVEPOINT" not in query["sql"]]))
    assert counts[1] - counts[0] == 3
