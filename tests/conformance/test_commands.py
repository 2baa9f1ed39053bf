import json
from uuid import uuid4

import pytest
from django.db import transaction

from eventbus import publish
from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE
from tests.testapp.events import ProbeSent
from tools.harness.ports import free_port

pytestmark = pytest.mark.live

ALL = (*PIPELINE, "worker probe", "worker trouble", "worker slow")


def test_bus_status_says_whether_everybody_is_there(live_bus: LiveBus) -> None:
    live_bus.only(*ALL)
    status = json.loads(live_bus.manage("bus_status", "--json", "--wait", "20"))
    assert status["staffed"] is True
    assert status["relays"] == 1
    queues = {queue["name"]: queue for queue in status["queues"]}
    assert {"probe.count", "orders.confirm", "inventory.reserve_stock"} <= set(queues)
    assert queues["probe.count"]["consumers"] == 1

    live_bus.term("worker probe")
    said = live_bus.manage("bus_status", "--json", expect=1)
    assert json.loads(said)["staffed"] is False


def test_bus_status_waits_for_what_is_on_its_way(live_bus: LiveBus) -> None:
    live_bus.only(*ALL)
    with transaction.atomic():
        event_ids = publish(*(ProbeSent(probe_id=uuid4()) for _ in range(500)))
    live_bus.manage("bus_status", "--drained", "--wait", "60")
    live_bus.wait_for(lambda: live_bus.effects("probe.count", *event_ids) == 500, "the last ones in hand", seconds=10)
    live_bus.drain()


def test_bus_status_without_a_broker_ends_with_2_and_advice(live_bus: LiveBus) -> None:
    said = live_bus.manage("bus_status", expect=2, BROKER_URL=f"amqp://nobody:nothing@127.0.0.1:{free_port()}//")
    assert "Are the servers running?" in said


def test_declare_topology_without_a_broker_gives_advice_and_no_password(live_bus: LiveBus) -> None:
    url = f"amqp://nobody:secret-word@127.0.0.1:{free_port()}//"
    said = live_bus.manage("declare_topology", expect=2, BROKER_URL=url, DECLARING_BROKER_URL=url)
    assert "Is it running?" in said
    assert "secret-word" not in said


def test_verify_pipeline_names_what_is_broken(live_bus: LiveBus) -> None:
    live_bus.ensure("relay", "worker probe")
    live_bus.manage("verify_pipeline")
    with transaction.atomic():
        (event_id,) = publish(ProbeSent(probe_id=uuid4()))
    live_bus.drain()
    live_bus.query(
        "INSERT INTO subscription (consumer, routing_key, since) "
        "SELECT 'probe.absent', 'probe.sent.v1', occurred_at FROM event WHERE id = %s",
        event_id,
    )
    try:
        report = json.loads(live_bus.manage("verify_pipeline", "--json", expect=1))
    finally:
        live_bus.query("DELETE FROM subscription WHERE consumer = 'probe.absent'")
    assert report["holds"] is False
    broken = [line for invariant in report["invariants"] for line in invariant["violations"]]
    assert broken == [f"probe.absent has not handled probe.sent {event_id}"]
    live_bus.manage("verify_pipeline")


@pytest.mark.parametrize("group", ["nobody", "Probe", ""])
def test_a_worker_for_nobody_says_which_groups_there_are(live_bus: LiveBus, group: str) -> None:
    assert "consumers, eventbus, inventory, notifications, orders" in live_bus.manage("worker", group, expect=1)


@pytest.mark.parametrize(
    ("settings", "advice"), [("config.settings", "Unset FAILPOINT"), ("config.test_settings", "Known: ")]
)
def test_a_failpoint_is_refused_where_it_is_not_allowed_or_not_known(
    live_bus: LiveBus, settings: str, advice: str
) -> None:
    said = live_bus.manage("check", expect=1, DJANGO_SETTINGS_MODULE=settings, FAILPOINT="relay.anywhere")
    assert advice in said
