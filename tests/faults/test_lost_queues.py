"""A consumer's queue is deleted: the others go on, it comes back by itself, and nothing is missing in the end."""

from uuid import UUID, uuid4

import pytest
from amqp import NotFound
from django.db import transaction
from kombu import Connection

from eventbus import publish
from eventbus.broker import topology
from eventbus.broker.connection import connect
from eventbus.relay import lost_queues
from tests.support.bus import LiveBus
from tests.testapp.events import TroubleAsked

pytestmark = [pytest.mark.live, pytest.mark.faults]

QUEUE = "trouble.obey"


def send(number: int) -> list[UUID]:
    with transaction.atomic():
        return publish(*[TroubleAsked(trouble_id=uuid4(), how="succeed") for _ in range(number)])


def delete(bus: LiveBus, *queues: str) -> None:
    with bus.wire.channel() as channel:
        for queue in queues:
            channel.queue_delete(queue)


def is_there(bus: LiveBus, queue: str) -> bool:
    try:
        bus.wire.ready(queue)
    except NotFound:
        return False
    return True


def test_what_is_published_while_a_queue_is_gone_reaches_its_consumer(live_bus: LiveBus) -> None:
    live_bus.only("relay", "worker trouble")
    before = send(20)
    live_bus.wait_for(lambda: live_bus.effects(QUEUE, *before) == 20, "a worker that works")
    start = len(live_bus["worker trouble"].says())

    delete(live_bus, QUEUE)
    meanwhile = send(20)
    live_bus.wait_for(lambda: live_bus.effects("trouble.watch", *meanwhile) == 20, "its neighbour to go on")
    assert live_bus.effects(QUEUE, *meanwhile) == 0

    live_bus.ensure("dead letters")
    live_bus.wait_for(lambda: live_bus.effects(QUEUE, *meanwhile) == 20, "what it missed")
    live_bus.drain()
    live_bus.verify()
    said = live_bus["worker trouble"].says()[start:]
    assert "queue.missing" in said
    assert "connection" not in said.lower(), "it connected again"
    live_bus.manage("check_alarms", expect=1)
    assert ("firing",) in live_bus.query("SELECT state FROM alarm WHERE name = 'queue_lost' AND subject = %s", QUEUE)


def test_what_waited_in_a_deleted_queue_is_sent_again(live_bus: LiveBus) -> None:
    live_bus.only("relay", "dead letters")
    waiting = send(20)
    live_bus.wait_for(lambda: live_bus.wire.ready(QUEUE) == 20, "events in the queue")
    delete(live_bus, QUEUE, f"{QUEUE}.dead")
    live_bus.wait_for(lambda: is_there(live_bus, QUEUE), "the queue to be declared again")
    live_bus.ensure("worker trouble")
    live_bus.wait_for(lambda: live_bus.effects(QUEUE, *waiting) == 20, "what waited")
    live_bus.drain()
    live_bus.verify()


def test_a_queue_that_goes_while_another_is_declared_again_is_missed_too(
    live_bus: LiveBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_bus.only("web")
    delete(live_bus, "fraud.flag_orders")
    missing = topology.missing

    def look_and_lose_another(broker: Connection) -> list[topology.Queue]:
        found = missing(broker)
        delete(live_bus, "loyalty.count_points")
        return found

    monkeypatch.setattr(topology, "missing", look_and_lose_another)
    with connect(live_bus.broker_url) as broker, pytest.raises(NotFound):
        lost_queues.declare(broker)
    monkeypatch.undo()
    with connect(live_bus.broker_url) as broker:
        lost_queues.declare(broker)

    noted = {consumer for (consumer,) in live_bus.query("SELECT consumer FROM lost_queue WHERE repaired_at IS NULL")}
    assert noted >= {"fraud.flag_orders", "loyalty.count_points"}


def test_a_worker_that_starts_without_a_queue_serves_the_others_and_waits_for_it(live_bus: LiveBus) -> None:
    live_bus.only("relay")
    delete(live_bus, QUEUE)
    live_bus.restart("worker trouble")
    early = send(5)
    live_bus.wait_for(lambda: live_bus.effects("trouble.watch", *early) == 5, "its neighbour to work")
    live_bus.manage("declare_topology")
    late = send(5)
    live_bus.wait_for(lambda: live_bus.effects(QUEUE, *late) == 5, "the queue to be consumed")
    live_bus.ensure("dead letters")
    live_bus.wait_for(lambda: live_bus.effects(QUEUE, *early) == 5, "what it missed")
    live_bus.drain()
    live_bus.verify()
