import pytest

from eventbus.broker import topology
from eventbus.declaration import CONSUMERS
from tests.support.bus import LiveBus
from tests.testapp import consumers  # noqa: F401  declares what the processes declare

pytestmark = pytest.mark.live


def test_each_consumer_has_its_quorum_queue_and_dead_letter_queue(live_bus: LiveBus) -> None:
    queues = {queue["name"]: queue for queue in live_bus.management("queues")}
    for consumer in CONSUMERS.values():
        queue, dead = queues[consumer.name], queues[consumer.dead_queue]
        assert queue["type"] == dead["type"] == "quorum"
        assert queue["durable"] is dead["durable"] is True
        assert queue["arguments"] == {
            "x-queue-type": "quorum",
            "x-delivery-limit": topology.DELIVERY_LIMIT,
            "x-dead-letter-exchange": "orders.dead",
            "x-dead-letter-routing-key": consumer.name,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }


def test_queues_are_bound_by_what_their_consumers_declare_and_nothing_more(live_bus: LiveBus) -> None:
    # A worker that ran is what could have bound more.
    live_bus.ensure("worker probe", "worker trouble")
    bindings = [binding for binding in live_bus.management("bindings") if binding["source"] == "orders"]
    found = {(binding["destination"], binding["routing_key"]) for binding in bindings}
    assert found == {(each.name, key) for each in CONSUMERS.values() for key in each.routing_keys}
    assert not [binding for binding in bindings if {"#", "*"} & set(binding["routing_key"])]
    # Celery's own: remote control, task events. Nothing of its delayed delivery, which binds by patterns.
    declared = {queue.name for queue in topology.queues()}
    others = {queue["name"] for queue in live_bus.management("queues")} - declared
    assert not [name for name in others if "celery_delayed" in name]
    assert not [each for each in live_bus.management("exchanges") if "celery_delayed" in each["name"]]


def test_the_exchange_keeps_what_nobody_listens_to(live_bus: LiveBus) -> None:
    exchanges = {exchange["name"]: exchange for exchange in live_bus.management("exchanges")}
    assert exchanges["orders"]["type"] == "topic"
    assert exchanges["orders"]["durable"] is True
    assert exchanges["orders"]["arguments"] == {"alternate-exchange": "orders.unrouted"}
    assert exchanges["orders.dead"]["type"] == "direct"


def test_declaring_again_changes_nothing(live_bus: LiveBus) -> None:
    before = sorted(queue["name"] for queue in live_bus.management("queues") if "celery" not in queue["name"])
    live_bus.manage("declare_topology")
    after = sorted(queue["name"] for queue in live_bus.management("queues") if "celery" not in queue["name"])
    assert after == before


def test_drift_is_reported_with_advice_and_leaves_the_queue_alone(live_bus: LiveBus) -> None:
    name = "trouble.hurry.dead"
    with live_bus.wire.channel() as channel:
        channel.queue_delete(name)
        channel.queue_declare(name, durable=True, auto_delete=False)
    try:
        said = live_bus.manage("declare_topology", expect=1)
        assert "Drift" in said
        assert name in said
        assert "delete it" in said
        assert live_bus.wire.ready(name) == 0
    finally:
        with live_bus.wire.channel() as channel:
            channel.queue_delete(name)
        live_bus.manage("declare_topology")
