"""Fixtures of the orders tests."""

import math

import pytest
from django.contrib.auth.models import User

from eventbus import admission
from orders.tests.builders import Api, a_channel


@pytest.fixture
def channel(db: None) -> User:
    return a_channel()


@pytest.fixture
def api(channel: User) -> Api:
    return Api(channel)


@pytest.fixture
def staff(db: None) -> User:
    return a_channel(is_staff=True, is_superuser=True)


@pytest.fixture(autouse=True)
def outbox_keeps_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What intake asks once a second would fall on any test's request, by chance."""
    monkeypatch.setattr(admission, "_ask_again_at", math.inf)
    monkeypatch.setattr(admission, "_retry_after", None)
