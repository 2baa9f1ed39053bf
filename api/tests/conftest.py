"""The probe's endpoints, and someone to call them."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from api.tests.callers import Caller


@pytest.fixture(autouse=True)
def probe(settings: Any) -> None:
    settings.ROOT_URLCONF = "api.tests.probe"


@pytest.fixture
def caller(db: None) -> Caller:
    return Caller(User.objects.create_user("channel"))
