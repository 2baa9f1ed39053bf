"""How often a caller may ask, and who tries passwords."""

from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from api import buckets, lockout, throttling
from api.buckets import Rate, Shares, Taken, take, take_one
from api.models import Bucket, ChannelLimit
from api.tests.callers import Caller, problem

SEARCH = "/api/search"
#: So slow that nothing comes back while a test runs.
SLOW = Rate(per_second=0.001, burst=5)


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "_shares", Shares())
    monkeypatch.setattr(lockout, "_shares", Shares())


def limit(caller: Caller, per_second: int) -> None:
    ChannelLimit.objects.create(user=caller.user, per_second=per_second)


def test_whoever_asks_too_often_is_told_when_to_come_back(caller: Caller) -> None:
    limit(caller, 1)
    first, second, third = (caller.get(SEARCH) for _ in range(3))
    assert [answer.status_code for answer in (first, second)] == [200, 200]
    assert first["RateLimit-Policy"] == '"channel";q=2;w=2'
    assert first["RateLimit"] == '"channel";r=1;t=1'
    assert second["RateLimit"] == '"channel";r=0;t=2'
    assert problem(third, 429)["detail"] == "More than 1 requests a second, and 2 at once."
    assert (third["Retry-After"], third["RateLimit"]) == ("1", '"channel";r=0;t=1')


def test_a_bucket_fills_again_as_the_databases_clock_goes(caller: Caller) -> None:
    limit(caller, 1)
    assert [caller.get(SEARCH).status_code for _ in range(3)] == [200, 200, 429]
    throttling._shares = Shares()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE api_bucket SET at = at - interval '1.5 seconds'")
    assert [caller.get(SEARCH).status_code for _ in range(2)] == [200, 429]


def test_a_channel_has_a_limit_of_its_own_or_that_of_all_or_none(caller: Caller, settings: Any) -> None:
    settings.CHANNEL_RATE_LIMIT = 7
    assert caller.get(SEARCH)["RateLimit-Policy"] == '"channel";q=14;w=2'
    limit(caller, 0)
    assert "RateLimit" not in caller.get(SEARCH)


def test_one_channel_takes_nothing_from_another(caller: Caller) -> None:
    limit(caller, 1)
    assert [caller.get(SEARCH).status_code for _ in range(3)] == [200, 200, 429]
    assert Caller(User.objects.create_user("other")).get(SEARCH).status_code == 200


def test_a_busy_channel_costs_a_statement_for_many_requests(
    db: None, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As long as it may keep what it took, however slow this machine is.
    monkeypatch.setattr(buckets, "KEEP", 600)
    shares = Shares()
    with django_assert_num_queries(2):
        taken = [shares.take("channel:1", Rate(1000, 2000)) for _ in range(100)]
    assert all(each.granted for each in taken)
    assert taken[0].left > taken[1].left


def test_an_empty_bucket_is_not_asked_again_and_again(db: None, django_assert_num_queries: Any) -> None:
    shares = Shares()
    assert [shares.take("x", SLOW).granted for _ in range(5)] == [True] * 5
    with django_assert_num_queries(0):
        assert [shares.take("x", SLOW).granted for _ in range(20)] == [False] * 20


def test_whoever_always_asks_gets_the_rate(db: None) -> None:
    rate, shares, granted = Rate(per_second=200, burst=10), Shares(), 0
    began = monotonic()
    while granted < 110:
        granted += shares.take("x", rate).granted
    # The burst, and then 200 a second: never more, and with what is lost on the way not much less.
    assert monotonic() - began >= 0.5


def test_a_clock_that_steps_back_takes_nothing_away(db: None) -> None:
    take("x", SLOW)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE api_bucket SET at = at + interval '1 hour'")
    assert take_one("x", SLOW) == Taken(granted=True, left=3)


@pytest.mark.django_db(transaction=True)
def test_at_once_no_more_is_taken_than_there_is() -> None:
    def take_and_leave(_: int) -> int:
        try:
            return take("x", SLOW)[0]
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take_and_leave, range(40))) == 5


def test_full_buckets_are_forgotten(db: None) -> None:
    take("old", SLOW)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE api_bucket SET at = at - interval '25 hours'")
    take("new", SLOW)
    assert buckets.forget_full_buckets() == 1
    assert [bucket.key for bucket in Bucket.objects.all()] == ["new"]


# Passwords and tokens


def log_in(password: str, name: str = "clerk", client: str = "192.0.2.1", **headers: str) -> Any:
    return Client(raise_request_exception=False).post(
        "/admin/login/", {"username": name, "password": password}, REMOTE_ADDR=client, headers=headers
    )


@pytest.fixture
def clerk(settings: Any, db: None) -> User:
    settings.ROOT_URLCONF = "config.urls"
    return User.objects.create_user("clerk", password="right", is_staff=True)


def test_five_wrong_passwords_lock_out_even_the_right_one(clerk: User) -> None:
    assert [log_in("wrong").status_code for _ in range(5)] == [200] * 5
    refused = log_in("right")
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 180
    assert b"Too many tries" in refused.content
    assert log_in("right", client="192.0.2.2").status_code == 302


def test_right_passwords_cost_nothing(clerk: User) -> None:
    assert [log_in("right").status_code for _ in range(12)] == [302] * 12


def test_an_address_that_tries_many_accounts_is_locked_out(clerk: User) -> None:
    assert [log_in("wrong", name=f"somebody {number}").status_code for number in range(20)] == [200] * 20
    assert log_in("wrong", name="another").status_code == 429


def test_an_account_that_many_addresses_try_is_locked_out(clerk: User) -> None:
    tries = [log_in("wrong", client=f"192.0.2.{number}").status_code for number in range(51)]
    assert tries == [200] * 50 + [429]


def test_behind_a_gateway_its_clients_are_told_apart(clerk: User, settings: Any) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    mine: dict[str, str] = {"X-Forwarded-For": "1.1.1.1, 198.51.100.7"}
    assert [log_in("wrong", **mine).status_code for _ in range(6)] == [200] * 5 + [429]
    assert log_in("right", **{"X-Forwarded-For": "198.51.100.7, 198.51.100.8"}).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_twenty_wrong_passwords_at_once_are_no_better_than_one_after_the_other(settings: Any) -> None:
    settings.ROOT_URLCONF = "config.urls"
    User.objects.create_user("clerk", password="right", is_staff=True)

    def wrong(_: int) -> int:
        try:
            return int(log_in("wrong").status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        assert sorted(pool.map(wrong, range(20))) == [200] * 5 + [429] * 15


def test_wrong_tokens_are_counted_and_right_ones_go_on(caller: Caller) -> None:
    right = caller.headers
    caller.headers = {"Authorization": "Bearer wrong"}
    assert [caller.get(SEARCH).status_code for _ in range(21)] == [401] * 20 + [429]
    caller.headers = right
    assert caller.get(SEARCH).status_code == 200


def test_who_is_locked_out_is_told_to_operators(clerk: User) -> None:
    from api.alarms import locked_out

    seen: Any = None
    assert locked_out(seen) == {"passwords": 0, "tokens": 0}
    for _ in range(6):
        log_in("wrong")
    assert locked_out(seen) == {"passwords": 1, "tokens": 0}
