"""Fixtures of the orders tests."""

import pytest
from django.contrib.auth.models import User

from orders.tests.factories import Api, ChannelFactory


@pytest.fixture
def channel(db: None) -> User:
    return ChannelFactory()


@pytest.fixture
def api(channel: User) -> Api:
    return Api(channel)


@pytest.fixture
def staff(db: None) -> User:
    return ChannelFactory(is_staff=True, is_superuser=True)
