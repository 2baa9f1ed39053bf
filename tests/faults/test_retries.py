"""Retries wait as rows: whoever dies meanwhile, each comes when it is due, and has its effect once."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection, transaction

from eventbus import Event, publish
from eventbus.broker.publisher import Outgoing
from eventbus.db.sql import fetch
from eventbus.relay.full_queues import listeners
from eventbus.retries.services import hurry
from eventbus.retries.writing import write
from tests.support.bus import LiveBus
from tests.support.trouble import ask
from tests.testapp.consumers import GATE
from tests.testapp.events import ProbeSent, TroubleAsked
from tools.harness.broker_trouble import length_limit
from tools.harness.servers import BROKER, POSTGRES, Servers

pytestmark = [pytest.mark.live, pytest.mark.faults]

MANY = 40
OF = "SELECT count(*) FROM waiting_retry WHERE consumer = %s"
EFFECT = """
INSERT INTO effect (consumer, event_id, aggregate_id, sequence, pid)
SELECT %s, id, aggregate_id, sequence, 0 FROM event WHERE id = ANY(%s)
"""
HELD = "SELECT count(*) FROM outbox WHERE blocked_key = 'trouble.asked.v1'"
REFUSED = "SELECT count(*) FROM waiting_retry WHERE consumer = %s AND refusals > 0"


@pytest.fixture
def bus(live_bus: LiveBus) -> Iterator[LiveBus]:
    yield live_bus
    live_bus.query("DELETE FROM broken")
    live_bus.query("TRUNCATE waiting_retry, dead_letter, dead_letter_group CASCADE")


def let_wait(bus: LiveBus, consumer: str, *events: Event, after: float = 0) -> list[UUID]:
    """These events have failed once at this consumer, and come again after so many seconds. All others are done."""
    with transaction.atomic():
        ids = publish(*events)
        fetch("DELETE FROM outbox WHERE event_id = ANY(%s)", [ids])
        for other in set(listeners(events[0].routing_key())) - {consumer}:
            fetch("INSERT INTO processed_event (event_id, consumer) SELECT unnest(%s::uuid[]), %s", [ids, other])
            fetch(EFFECT, [other, ids])
    for letter in bus.outgoing(ids):
        write(
            Outgoing("", consumer, letter.body, {**letter.properties, "application_headers": letter.headers}),
            after=after,
            attempt=2,
            first_failed_at=datetime.now(UTC),
            error="ValueError: once",
            event_id=UUID(letter.properties["message_id"]),
            envelope=None,
        )
    return ids


def waiting(bus: LiveBus, consumer: str, query: str = OF) -> int:
    ((found,),) = bus.query(query, consumer)
    return int(found)


@pytest.mark.parametrize("sick", ["full", "missing"])
def test_a_sick_queue_delays_nobody_elses_retries(bus: LiveBus, sick: str) -> None:
    bus.only("relay", "worker probe")
    consumer = "trouble.obey" if sick == "full" else "gone.consumer"
    with ExitStack() as trouble:
        if sick == "full":
            trouble.enter_context(length_limit(bus.broker, bus.name, consumer, 1))
            # It notices late that it is full: what comes in one go may all get in.
            bus.wait_for(lambda: ask("succeed") and bus.query(HELD) != [(0,)], "the queue to be full")
        told = let_wait(bus, consumer, *[TroubleAsked(trouble_id=uuid4(), how="succeed") for _ in range(MANY)])
        bus.wait_for(lambda: waiting(bus, consumer, REFUSED) > MANY // 2, "the queue to refuse them")
        probes = let_wait(bus, "probe.count", *[ProbeSent(probe_id=uuid4()) for _ in range(3)])
        bus.wait_for(lambda: bus.effects("probe.count", *probes) == 3, "the neighbour's retries", 10)
        assert waiting(bus, consumer) > MANY // 2
        shown = json.loads(bus.manage("bus_status", "--json", expect=1))["retries"][consumer]
        assert shown["waiting"] >= shown["refused"] > MANY // 2
    if sick == "full":
        bus.ensure("worker trouble")
        hurry(by="test")
        bus.wait_for(lambda: bus.effects(consumer, *told) == MANY, "the queue to get them", 60)
    else:
        assert "(gone)" in bus.manage("waiting_retries", "--consumer", consumer)
        bus.manage("cancel_retries", "--consumer", consumer)
        assert bus.query("SELECT count(*) FROM dead_letter WHERE consumer = %s", consumer) == [(MANY,)]
    assert waiting(bus, consumer) == 0


def test_retries_come_when_they_are_due_though_the_broker_was_killed_meanwhile(bus: LiveBus, servers: Servers) -> None:
    bus.only("relay", "worker probe")
    soon = let_wait(bus, "probe.count", *[ProbeSent(probe_id=uuid4()) for _ in range(MANY)], after=2)
    servers.kill(BROKER)
    servers.restart(BROKER)
    bus.wait_for(lambda: bus.effects("probe.count", *soon) == MANY, "the retries", 60)
    assert waiting(bus, "probe.count") == 0


def test_in_an_outage_of_the_database_no_delivery_is_lost_and_none_loses_an_attempt(
    bus: LiveBus, servers: Servers
) -> None:
    bus.only("relay", "worker trouble")
    gate = psycopg.connect(bus.database_url, autocommit=True)
    gate.execute("SELECT pg_advisory_lock(%s)", [GATE])
    events = ask(*["wait"] * MANY)
    bus.wait_for(lambda: bus.runs("trouble.obey", events[0]) == 1, "a handler to begin")
    servers.kill(POSTGRES)
    bus.wait_for(lambda: "breaker.opened" in bus["worker trouble"].says(), "deliveries to fail and be kept", 60)
    assert "event.kept" in bus["worker trouble"].says()
    servers.restart(POSTGRES)
    gate.close()
    connection.close()
    bus.drain()
    assert bus.effects("trouble.obey", *events) == MANY
    assert bus.query("SELECT max(attempts) FROM processed_event WHERE event_id = ANY(%s)", events) == [(1,)]
    assert bus.wire.take_all("trouble.obey.dead") == []
    bus.verify()


def test_a_worker_that_dies_between_the_row_and_the_acknowledgement_leaves_one_row(bus: LiveBus) -> None:
    bus.only("relay")
    bus.query("INSERT INTO broken VALUES ('for now')")
    (event_id,) = ask("raise while broken")
    bus.wait_for(lambda: bus.wire.ready("trouble.obey") == 1, "the event to be published")
    bus.kill9("relay")
    bus.restart("worker trouble", failpoint="consumer.after_retry")
    bus.wait_for(lambda: bus.lost_children("worker trouble") > 1, "two processes to die over it")
    assert waiting(bus, "trouble.obey") == 1

    bus.query("DELETE FROM broken")
    bus.restart("worker trouble")
    bus.ensure("relay")
    bus.drain()
    assert bus.effects("trouble.obey", event_id) == 1
    assert waiting(bus, "trouble.obey") == 0


def test_a_relay_that_dies_between_the_confirm_and_its_note_sends_twice_and_the_effect_is_there_once(
    bus: LiveBus,
) -> None:
    bus.only("worker probe")
    (probe,) = let_wait(bus, "probe.count", ProbeSent(probe_id=uuid4()))
    bus.restart("relay", failpoint="retries.after_confirm")
    bus.wait_for(lambda: not bus["relay"].is_alive, "the relay to die")
    assert waiting(bus, "probe.count") == 1
    bus.restart("relay")
    bus.wait_for(lambda: waiting(bus, "probe.count") == 0, "the next one to send it")
    bus.wait_for(lambda: str(probe) in duplicates(bus), "the second one to arrive")
    assert bus.effects("probe.count", probe) == 1


def duplicates(bus: LiveBus) -> str:
    return "".join(line for line in bus["worker probe"].says().splitlines() if "event.duplicate" in line)
