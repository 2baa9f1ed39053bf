"""What holds for the tests of every app."""

import pytest

from eventbus.testing.fixtures import no_events_left_over

__all__ = ["no_events_left_over"]

#: Seconds for a test that is marked as long.
LONG = 30 * 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.timeout(LONG))
