"""What holds for the tests of every app."""

import pytest

from eventbus.testing.fixtures import no_events_left_over

__all__ = ["no_events_left_over"]

#: Seconds for a test with such a mark, the first that it has: real processes take their time on a busy machine.
LIMITS = {"long": 30 * 60, "faults": 10 * 60, "live": 5 * 60, "browser": 5 * 60}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        limits = [limit for mark, limit in LIMITS.items() if item.get_closest_marker(mark) is not None]
        if limits and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(limits[0]))
