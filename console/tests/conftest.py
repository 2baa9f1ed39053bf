"""Fixtures of the console's tests."""

import pytest

from console.tests.builders import stocked
from eventbus.testing import subscribed
from orders.tests.conftest import outbox_keeps_up

__all__ = ["outbox_keeps_up"]


@pytest.fixture
def shop(db: None) -> None:
    """A shop with stock, whose consumers listen."""
    subscribed()
    stocked()
