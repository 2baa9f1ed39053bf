"""Who gets a token, and what it opens."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from knox.models import AuthToken

from api import tokens
from api.authentication import ChannelAuthentication
from api.tests.callers import Caller, problem

SEARCH = "/api/search"


@pytest.fixture
def staff(db: None) -> User:
    return User.objects.create_user("clerk", password="x", is_staff=True)


def owner(token: str) -> Any:
    user, _ = ChannelAuthentication().authenticate_credentials(token.encode())
    return user


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer nonsense", "Bearer two words", "Basic YTpi", "Bearer \xff", "bearer é"]
)
def test_without_a_good_token_nothing_is_said(caller: Caller, header: str | None) -> None:
    caller.headers = {} if header is None else {"Authorization": header}
    for answer in (caller.get(SEARCH), caller.post("/api/echo", {})):
        problem(answer, 401)
        assert answer["WWW-Authenticate"] == "Bearer"


def test_an_expired_token_opens_nothing(caller: Caller) -> None:
    AuthToken.objects.update(expiry=datetime.now(UTC) - timedelta(seconds=1))
    problem(caller.get(SEARCH), 401)


def test_a_channel_that_was_closed_is_out(caller: Caller) -> None:
    caller.user.is_active = False
    caller.user.save()
    problem(caller.get(SEARCH), 401)


def test_a_token_is_looked_up_in_one_statement(caller: Caller, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        caller.get(SEARCH)


@pytest.mark.parametrize("rights", [{}, {"is_staff": True}, {"is_superuser": True}])
def test_a_token_gives_its_users_rights_and_no_others(db: None, rights: Any) -> None:
    known = User.objects.create_user("known", **rights)
    _, token = AuthToken.objects.create(known)
    user = owner(token)
    for name in ("pk", "username", "is_staff", "is_superuser", "is_active"):
        assert getattr(user, name) == getattr(known, name)


def test_create_channel_prints_a_token_that_works(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_channel", "web-shop", "--json", "--days", "7")
    made = json.loads(capsys.readouterr().out)
    channel = User.objects.get(pk=owner(made["token"]).pk)
    assert made["channel"] == channel.username == "web-shop"
    assert not channel.is_staff
    assert not channel.has_usable_password()
    assert timedelta(days=6) < datetime.fromisoformat(made["expires"]) - datetime.now(UTC) <= timedelta(days=7)


def test_a_fresh_token_leaves_the_old_one_unless_told(db: None) -> None:
    made = [tokens.create_channel(name="shop", days=1)[0] for _ in range(2)]
    assert AuthToken.objects.count() == 2
    made.append(tokens.create_channel(name="shop", days=1, revoke=True)[0])
    assert AuthToken.objects.count() == 1
    assert len(set(made)) == 3


@pytest.mark.parametrize("arguments", [["bad name!"], ["x" * 151], ["shop", "--days", "0"]])
def test_create_channel_says_what_is_wrong(db: None, arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("create_channel", *arguments)


def test_create_staff_token_prints_a_token_that_works(staff: User, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_staff_token", staff.username, "--json")
    made = json.loads(capsys.readouterr().out)
    user = owner(made["token"])
    assert (user.pk, user.is_staff) == (staff.pk, True)
    assert datetime.fromisoformat(made["expires"]) - datetime.now(UTC) <= timedelta(days=1)


@pytest.mark.parametrize("arguments", [["nobody"], ["channel"], ["clerk", "--days", "0"]])
def test_only_staff_get_a_staff_token(staff: User, arguments: list[str]) -> None:
    User.objects.create_user("channel")
    with pytest.raises(CommandError):
        call_command("create_staff_token", *arguments)
    assert not AuthToken.objects.exists()


def test_a_person_does_not_become_a_channel(staff: User) -> None:
    with pytest.raises(CommandError, match="person"):
        call_command("create_channel", staff.username)
