"""What beat sends: no task keeps the others waiting for ever."""

import pytest
from django.conf import settings

from config.celery import app

SCHEDULED = sorted({entry["task"] for entry in app.conf.beat_schedule.values()})


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    app.loader.import_default_modules()


@pytest.mark.parametrize("name", SCHEDULED)
def test_every_periodic_task_has_a_time(name: str) -> None:
    task = app.tasks[name]
    assert 0 < task.soft_time_limit < task.time_limit < settings.EVENTBUS_BROKER_CONSUMER_TIMEOUT
