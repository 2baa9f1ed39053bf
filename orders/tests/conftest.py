"""Fixtures of the orders tests."""

import math
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connection

from eventbus.pressure import gate
from orders.tests.factories import Api, ChannelFactory


@pytest.fixture(autouse=True)
def clean_bus(request: pytest.FixtureRequest) -> Iterator[None]:
    """Empty the bus after a test that really committed: Django empties only the tables that it manages."""
    marker = request.node.get_closest_marker("django_db")
    commits = marker is not None and marker.kwargs.get("transaction", False)
    if commits:
        request.getfixturevalue("transactional_db")
    yield
    if commits:
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE event, stream, outbox, processed_event")


@pytest.fixture
def channel(db: None) -> User:
    return ChannelFactory()


@pytest.fixture
def api(channel: User) -> Api:
    return Api(channel)


@pytest.fixture
def staff(db: None) -> User:
    return ChannelFactory(is_staff=True, is_superuser=True)


@pytest.fixture(autouse=True)
def outbox_keeps_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What intake asks once a second would fall on any test's request, by chance."""
    monkeypatch.setattr(gate, "_next_look", math.inf)
    monkeypatch.setattr(gate, "_retry_after", None)
