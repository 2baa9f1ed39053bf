import pytest

from tests.support.bus import LiveBus

pytestmark = pytest.mark.live


def test_the_worker_of_the_small_consumers_runs_although_there_are_none(live_bus: LiveBus) -> None:
    live_bus.restart("worker consumers", DJANGO_SETTINGS_MODULE="tests.empty_folder_settings")
    assert live_bus["worker consumers"].is_alive
    live_bus.term("worker consumers")


def test_a_misspelt_small_consumer_is_refused(live_bus: LiveBus) -> None:
    said = live_bus.manage("worker", "consumers", "--only", "loyalty.count_point", expect=1)
    assert "loyalty.count_point" in said
