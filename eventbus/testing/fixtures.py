"""Fixtures for pytest. Import them in a `conftest.py`."""

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from eventbus.testing.bus import empty_bus


@pytest.fixture(autouse=True)
def no_events_left_over(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A test that commits leaves an empty bus behind."""
    yield
    marker = request.node.get_closest_marker("django_db")
    commits = "transactional_db" in request.fixturenames or (marker is not None and marker.kwargs.get("transaction"))
    if commits and request.node.get_closest_marker("live") is None:
        with django_db_blocker.unblock():
            empty_bus()
