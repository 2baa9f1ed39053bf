from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from django.core import checks as django_checks
from django.core.management import call_command
from django.db import DatabaseError

from eventbus.broker import topology
from eventbus.broker.publisher import ConfirmingPublisher, Unconfirmed
from eventbus.broker.topology import Queue
from eventbus.checks import broker, deployed
from eventbus.checks.celery import (
    app_with_tasks,
    celery_loses_nothing,
    names_are_used_once,
    tasks_lose_nothing,
    the_webhook_is_an_address,
)
from eventbus.checks.deployed import (
    _confirms,
    broker_and_declarations_agree,
    nobody_was_renamed,
    policies_fit_the_declarations,
)
from eventbus.declaration import consumer
from eventbus.subscriptions.models import Subscription
from eventbus.tests.celery import app
from eventbus.tests.samples import ParcelSent, track
from eventbus.worker.circuit_breaker import PUT_BACK_AFTER


def ids(found: list[django_checks.CheckMessage]) -> list[str]:
    assert all(each.hint for each in found)
    return [str(each.id).removeprefix("eventbus.") for each in found]


OFFLINE = [
    celery_loses_nothing,
    tasks_lose_nothing,
    broker.queues_have_a_delivery_limit,
    broker.queues_push_back_and_drop_nothing,
    broker.the_broker_waits_long_enough,
    broker.dead_letters_go_in_no_circle,
    names_are_used_once,
    the_webhook_is_an_address,
]


@pytest.mark.parametrize("check", OFFLINE)
def test_the_product_is_as_it_should_be(check: Any) -> None:
    assert check() == []


def test_the_checks_run_under_their_tag(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("check", "--tag", "bus")
    assert "no issues" in capsys.readouterr().out + capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("task_acks_late", False),
        ("task_reject_on_worker_lost", False),
        ("task_acks_on_timeout", True),
        ("worker_consumer", "celery.worker.consumer:Consumer"),
        ("broker_connection_max_retries", 100),
        ("broker_channel_error_retry", False),
        ("worker_cancel_long_running_tasks_on_connection_loss", False),
        ("task_create_missing_queues", True),
    ],
)
def test_a_celery_setting_that_loses_events(setting: str, wrong: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.conf, setting, wrong)
    (found,) = celery_loses_nothing()
    assert ids([found]) == ["E003"]
    assert setting in str(found.msg)


def test_confirms_on_the_workers_own_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.conf, "broker_transport_options", {"confirm_publish": True})
    assert ids(celery_loses_nothing()) == ["E004"]


@pytest.mark.parametrize("option", [{"acks_late": False}, {"reject_on_worker_lost": False}, {"acks_on_timeout": True}])
def test_a_task_that_acknowledges_what_it_fails_at(option: dict[str, bool]) -> None:
    app_with_tasks()

    def careless() -> None: ...

    app.task(name="test.careless", **option)(careless)
    try:
        assert ids(tasks_lose_nothing()) == ["E005"]
    finally:
        del app.tasks["test.careless"]


@pytest.fixture
def arguments() -> Iterator[dict[str, Any]]:
    """What the consumers' queues are declared with; change it."""
    changed = dict(topology.consumer_queue(track).arguments)
    with patch.object(topology, "consumer_queue", lambda each: Queue(each.name, changed, topology.EVENTS)):
        yield changed


@pytest.mark.parametrize("limit", [None, 0, topology.REDELIVERY_LIMIT])
def test_a_queue_without_a_delivery_limit(limit: int | None, arguments: dict[str, Any]) -> None:
    arguments["x-delivery-limit"] = limit
    assert set(ids(broker.queues_have_a_delivery_limit())) == {"E006"}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("x-overflow", "drop-head"),
        ("x-dead-letter-strategy", "at-most-once"),
        ("x-queue-type", "classic"),
        ("x-dead-letter-exchange", None),
    ],
)
def test_a_queue_that_drops(name: str, wrong: str | None, arguments: dict[str, Any]) -> None:
    arguments[name] = wrong
    assert set(ids(broker.queues_push_back_and_drop_nothing())) == {"E007"}


def test_a_broker_that_takes_deliveries_back_too_early(settings: Any) -> None:
    longest = broker.longest_hold(track)
    assert longest > PUT_BACK_AFTER + 2 * track.killed_after
    settings.EVENTBUS_BROKER_CONSUMER_TIMEOUT = longest
    assert set(ids(broker.the_broker_waits_long_enough())) == {"E008"}
    settings.EVENTBUS_BROKER_CONSUMER_TIMEOUT = longest + 1
    assert broker.the_broker_waits_long_enough() == []


@pytest.mark.parametrize(
    ("queue", "found"),
    [
        ({"effective_policy_definition": {"max-length": 1_000_000}}, []),
        ({"effective_policy_definition": {}, "operator_policy_definition": {"max-length-bytes": 10**9}}, []),
        ({"arguments": {"x-max-length": 3}}, []),
        ({"effective_policy_definition": None}, ["W019"]),
        ({"effective_policy_definition": {"max-length": 1, "consumer-timeout": 120_000}}, ["E008"]),
        ({"arguments": {"x-max-length": 3, "x-consumer-timeout": 120_000}}, ["E008"]),
        ({"effective_policy_definition": {"max-length": 1, "consumer-timeout": 1_800_000}}, []),
    ],
)
def test_what_operators_set(queue: dict[str, Any], found: list[str], settings: Any) -> None:
    settings.EVENTBUS_MANAGEMENT_URL = "http://127.0.0.1:1"
    with patch.object(deployed, "ask", return_value=[{"name": "parcel.track"} | queue, {"name": "somebody.elses"}]):
        assert ids(policies_fit_the_declarations()) == found


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:1"])
def test_without_the_management_api_nobody_knows(url: str, settings: Any) -> None:
    settings.EVENTBUS_MANAGEMENT_URL = url
    assert ids(policies_fit_the_declarations()) == ["I018"]


@pytest.mark.parametrize("time_limit", [10, 30, 60, 300])
def test_outside_effects_that_go_one_after_the_other_are_waited_for(time_limit: int, settings: Any) -> None:
    declared = consumer("parcel.call", on=[ParcelSent], time_limit=time_limit, side_effects=True)(lambda event: None)
    assert broker.longest_hold(declared) >= PUT_BACK_AFTER + 2 * declared.batch * declared.killed_after
    assert broker.the_broker_waits_long_enough() == []


def test_a_handler_that_may_take_longer_than_the_broker_waits() -> None:
    consumer("parcel.slow", on=[ParcelSent], time_limit=1_800)(lambda event: None)
    (found,) = broker.the_broker_waits_long_enough()
    assert ids([found]) == ["E008"]
    assert "parcel.slow" in str(found.msg)


def test_dead_letters_that_come_back_to_their_queue() -> None:
    def circling(name: str) -> Queue:
        return Queue(f"{name}.dead", {"x-dead-letter-exchange": topology.EVENTS}, topology.DEAD, (name,))

    with patch.object(topology, "dead_queue", circling):
        found = broker.dead_letters_go_in_no_circle()
    assert set(ids(found)) == {"E009"}
    assert "parcel.track -> parcel.track" in str(found[0].msg) or "parcel.track.dead" in str(found[0].msg)


def test_a_queue_that_feeds_itself() -> None:
    def circling(name: str) -> Queue:
        return Queue(f"{name}.dead", {"x-dead-letter-exchange": topology.DEAD}, topology.DEAD, (name,))

    with patch.object(topology, "dead_queue", circling):
        assert set(ids(broker.dead_letters_go_in_no_circle())) == {"E009"}


@pytest.mark.parametrize("name", ["events.unrouted", "eventbus.upkeep", "eventbus.prune_archive", "eventbus.audit"])
def test_a_consumer_with_a_name_that_is_taken(name: str) -> None:
    consumer(name, on=[ParcelSent])(lambda event: None)
    assert ids(names_are_used_once()) == ["E010"]


@pytest.mark.parametrize("url", ["alarms.example/hook", "file:///etc/passwd", "http://"])
def test_a_webhook_that_is_no_address(url: str, settings: Any) -> None:
    settings.EVENTBUS_ALARM_WEBHOOK_URL = url
    assert ids(the_webhook_is_an_address()) == ["E012"]


def test_a_broker_that_is_away_is_no_error(settings: Any) -> None:
    settings.EVENTBUS_BROKER_URL = settings.EVENTBUS_DECLARING_BROKER_URL = "amqp://127.0.0.1:1//"
    assert ids(broker_and_declarations_agree()) == ["I018"]


def test_a_broker_that_does_not_confirm() -> None:
    with patch.object(ConfirmingPublisher, "send", side_effect=Unconfirmed("1 message")):
        assert ids(_confirms()) == ["E015"]


@pytest.mark.django_db
def test_a_consumer_that_was_renamed() -> None:
    Subscription.objects.create(consumer="parcel.follow", routing_key="parcel.sent.v1")
    (found,) = nobody_was_renamed()
    assert ids([found]) == ["W016"]
    assert "parcel.follow" in str(found.msg)


@pytest.mark.django_db
def test_a_consumer_that_listens_to_less_than_before() -> None:
    Subscription.objects.create(consumer="parcel.track", routing_key="parcel.lost.v1")
    assert ids(nobody_was_renamed()) == ["W017"]


def test_a_database_that_is_away_is_no_error() -> None:
    with patch.object(Subscription.objects, "values_list", side_effect=DatabaseError):
        assert ids(nobody_was_renamed()) == ["I018"]
