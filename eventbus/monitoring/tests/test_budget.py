from typing import Any

import pytest
from django.db import connection

from eventbus.checks.granted import connections_suffice
from eventbus.db.sql import fetch
from eventbus.heartbeats.models import Heartbeat
from eventbus.monitoring import budget
from eventbus.monitoring.budget import Limit, Need


def need(kind: str) -> Need:
    [found] = [each for each in budget.running_needs() if each.kind == kind]
    return found


@pytest.mark.django_db
def test_every_thread_of_the_web_and_each_of_its_processes_is_counted(settings: Any) -> None:
    settings.EVENTBUS_WEB_PROCESSES, settings.EVENTBUS_WEB_THREADS = 3, 7
    assert (need("web").copies, need("web").database) == (3, 8)


@pytest.mark.django_db
def test_each_channel_of_the_alarms_may_have_one(settings: Any) -> None:
    settings.EVENTBUS_ALARM_EMAIL = []
    before = need("relay").database
    settings.EVENTBUS_ALARM_EMAIL, settings.EVENTBUS_ALARM_WEBHOOK_URL = ["a@shop.example"], "https://alarms.example"
    assert need("relay").database == before + 2


@pytest.mark.django_db
def test_as_many_count_as_give_signs_of_life() -> None:
    ((now,),) = fetch("SELECT clock_timestamp()")
    for pid in (1, 2, 3):
        Heartbeat.objects.create(kind="beat", host="here", pid=pid, code_version="", started_at=now, beat_at=now)
    assert need("beat").copies == 3


@pytest.mark.django_db
def test_enough_is_no_trouble_and_too_few_are_named_in_one_line(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.EVENTBUS_MANAGEMENT_URL = ""
    assert connections_suffice() == []

    settings.EVENTBUS_WEB_PROCESSES, settings.EVENTBUS_WEB_THREADS = 4, 99
    [found] = connections_suffice()
    assert found.id == "eventbus.E019"
    assert "web 400" in found.msg
    assert "max_connections is" in found.msg
    assert "\n" not in found.msg
    # The pooler has those of the web.
    settings.EVENTBUS_POOLED_DATABASE = {}
    assert connections_suffice() == []

    monkeypatch.setattr(budget, "broker_limits", lambda: [Limit(5, "the user's max-connections")])
    [found] = connections_suffice()
    assert "to RabbitMQ" in found.msg
    assert "which grants 5: the user's max-connections" in found.msg


@pytest.mark.django_db
def test_the_limits_of_role_and_database_count() -> None:
    name = connection.settings_dict["NAME"]
    fetch(f'ALTER DATABASE "{name}" CONNECTION LIMIT 77')
    assert [each.number for each in budget.database_limits()][1:] == [77]


def test_the_limits_of_user_and_virtual_host_are_asked_for(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.EVENTBUS_BROKER_URL = "amqps://shop%2F1:secret@mq.example/orders%2Fa?heartbeat=5"
    settings.EVENTBUS_MANAGEMENT_URL = "https://mq.example"
    answers = {
        "vhost-limits/orders%2Fa": [{"value": {"max-connections": 40, "max-queues": 9}}],
        "user-limits/shop%2F1": [{"value": {"max-channels": 1}}],
    }
    monkeypatch.setattr("eventbus.broker.management.ask", answers.__getitem__)
    assert budget.broker_limits() == [Limit(40, "the virtual host's max-connections")]
