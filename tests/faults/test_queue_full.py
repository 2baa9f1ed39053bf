"""Fault 21: a consumer's queue is full. Its events wait in the outbox, and nobody else's do."""

import json
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from eventbus import publish
from tests.support.bus import LiveBus
from tests.testapp.events import ProbeSent, TroubleAsked
from tools.harness.broker_trouble import length_limit

pytestmark = [pytest.mark.live, pytest.mark.faults]

# The relay claims 500 at a time: more than a batch of them stands in front of everyone else's.
MANY = 1_200
HELD = "SELECT count(*) FROM outbox WHERE blocked_key = 'probe.sent.v1'"


def send(*events: ProbeSent | TroubleAsked) -> list[UUID]:
    with transaction.atomic():
        return publish(*events)


def test_a_full_queue_holds_back_its_own_events_and_loses_none(live_bus: LiveBus) -> None:
    live_bus.only("relay", "worker trouble")
    probe = uuid4()
    with length_limit(live_bus.broker, live_bus.name, "probe.audit", 100):
        ids = send(*[ProbeSent(probe_id=uuid4()) for _ in range(MANY)], *[ProbeSent(probe_id=probe) for _ in range(3)])
        live_bus.wait_for(
            lambda: live_bus.query("SELECT count(*) FROM outbox WHERE blocked_key IS NULL") == [(0,)], "all to be tried"
        )
        ((held,),) = live_bus.query(HELD)
        assert MANY - 700 < held < MANY

        late = send(*[TroubleAsked(trouble_id=uuid4(), how="succeed") for _ in range(20)])
        live_bus.wait_for(lambda: live_bus.effects("trouble.obey", *late) == 20, "the others to be served")
        assert live_bus.query(HELD)[0][0] > 0

    live_bus.ensure("worker probe")
    live_bus.drain()
    assert live_bus.effects("probe.count", *ids) == live_bus.effects("probe.audit", *ids) == len(ids)
    live_bus.verify()


def test_a_full_queue_is_tried_seldom_and_costs_its_neighbours_few_duplicates(live_bus: LiveBus) -> None:
    live_bus.only("relay")
    with length_limit(live_bus.broker, live_bus.name, "probe.audit", 10):
        send(*[ProbeSent(probe_id=uuid4()) for _ in range(300)])
        live_bus.wait_for(lambda: "relay.queue_full" in live_bus["relay"].says(), "the first refusal")
        tries = [line for line in live_bus["relay"].says().splitlines() if "relay.queue_full" in line]
        live_bus.wait_for(
            lambda: live_bus["relay"].says().count("relay.queue_full") > len(tries) + 2, "three more tries"
        )
        assert live_bus.wire.ready("probe.count") < 2 * 300
        pauses = [line["retry_in_seconds"] for line in live_bus["relay"].log_lines() if "retry_in_seconds" in line]
        assert pauses[-1] > pauses[0]
    live_bus.ensure("worker probe")
    live_bus.drain()


def test_what_a_dead_relay_held_back_is_found_by_the_next(live_bus: LiveBus) -> None:
    live_bus.only("relay")
    with length_limit(live_bus.broker, live_bus.name, "probe.audit", 10):
        ids = send(*[ProbeSent(probe_id=uuid4()) for _ in range(300)])
        live_bus.wait_for(lambda: live_bus.query(HELD)[0][0] > 0, "events to be held back")
        live_bus.kill9("relay")
    live_bus.ensure("relay", "worker probe")
    live_bus.drain()
    assert live_bus.effects("probe.audit", *ids) == 300


def test_the_events_of_an_aggregate_keep_their_order_across_a_full_queue(live_bus: LiveBus) -> None:
    live_bus.only("relay", "relay 2")
    tap = live_bus.wire.tap("probe.sent.v1")
    probes = [uuid4() for _ in range(20)]
    with length_limit(live_bus.broker, live_bus.name, "probe.audit", 10):
        for _ in range(10):
            send(*[ProbeSent(probe_id=probe) for probe in probes])
        live_bus.wait_for(lambda: live_bus.query(HELD)[0][0] > 0, "events to be held back")
    live_bus.ensure("worker probe")
    live_bus.drain()

    seen: dict[UUID, list[int]] = {}
    with live_bus.wire.channel() as channel:
        while (message := channel.basic_get(tap, no_ack=True)) is not None:
            envelope = json.loads(message.body)
            seen.setdefault(UUID(envelope["aggregateId"]), []).append(envelope["sequence"])
    for probe in probes:
        firsts = list(dict.fromkeys(seen[probe]))
        assert firsts == sorted(firsts) == list(range(1, 11))


def test_the_others_get_theirs_at_once_while_one_queue_of_the_key_is_full(live_bus: LiveBus) -> None:
    live_bus.only("relay")
    with length_limit(live_bus.broker, live_bus.name, "probe.audit", 10):
        early = send(*[ProbeSent(probe_id=uuid4()) for _ in range(300)])
        live_bus.wait_for(lambda: live_bus.query(HELD)[0][0] > 0, "events to be held back")
        late = send(*[ProbeSent(probe_id=uuid4()) for _ in range(100)])
        live_bus.wait_for(
            lambda: {*early, *late} <= ids_in(live_bus, "probe.count"), "its neighbour's queue to have all"
        )
        # The relay finds out which queue it is when it tries the next time.
        live_bus.wait_for(lambda: full_queues(live_bus) == ["probe.audit"], "the full queue to be named")
    live_bus.ensure("worker probe")
    live_bus.drain()
    assert live_bus.effects("probe.audit", *early, *late) == 400
    live_bus.verify()


def test_what_a_renamed_consumer_left_behind_stops_nobody_and_is_named(live_bus: LiveBus) -> None:
    live_bus.only("relay", "worker probe")
    left_over = live_bus.wire.tap("probe.sent.v1", length=3)
    ids = [send(ProbeSent(probe_id=uuid4()))[0] for _ in range(10)]
    live_bus.wait_for(
        lambda: live_bus.effects("probe.count", *ids) == live_bus.effects("probe.audit", *ids) == 10, "all effects"
    )
    live_bus.wait_for(lambda: full_queues(live_bus) == [left_over], "the full queue to be named")
    live_bus.wire.remove_taps()
    live_bus.drain()
    live_bus.verify()


def full_queues(bus: LiveBus) -> list[str]:
    """The queues that `bus_status` calls full."""
    return list(json.loads(bus.run("manage.py", "bus_status", "--json").stdout)["full"])


def ids_in(bus: LiveBus, queue: str) -> set[UUID]:
    """The events that wait in a queue; they go back to it."""
    found = set()
    with bus.wire.channel() as channel:
        while (message := channel.basic_get(queue)) is not None:
            found.add(UUID(message.properties["message_id"]))
    return found
