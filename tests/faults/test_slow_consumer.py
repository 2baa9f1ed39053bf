"""Fault 18: one consumer is slow and 20,000 events behind."""

from functools import partial
from uuid import uuid4

import pytest
from django.db import transaction

from eventbus import publish
from tests.support.bus import LiveBus
from tests.testapp.events import NapAsked, ProbeSent

pytestmark = [pytest.mark.live, pytest.mark.faults, pytest.mark.long]

BEHIND = 20_000
ROUNDS, EVENTS = 3, 100
AGES = """
SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM f.at - e.occurred_at)::float8)
FROM effect f JOIN event e ON e.id = f.event_id WHERE f.consumer = 'probe.count' AND e.id = ANY(%s)
"""


def age_at_effect(bus: LiveBus) -> float:
    """The 99th percentile, in seconds, of events that go one after the other, in the quietest of the rounds: what slows
    this consumer slows it in each of them, and what else the machine does in one or two."""
    return min(_age_in_a_round(bus) for _ in range(ROUNDS))


def _age_in_a_round(bus: LiveBus) -> float:
    ids = []
    for _ in range(EVENTS):
        with transaction.atomic():
            ids += publish(ProbeSent(probe_id=uuid4()))
        bus.wait_for(partial(bus.outcome, "probe.count", ids[-1]), "an event to be handled")
    return float(bus.query(AGES, ids)[0][0])


def test_one_slow_consumer_slows_nobody_else(live_bus: LiveBus) -> None:
    live_bus.only("relay", "worker probe")
    calm = age_at_effect(live_bus)
    live_bus.query("INSERT INTO broken VALUES ('slow')")
    try:
        for _ in range(BEHIND // 500):
            with transaction.atomic():
                publish(*[NapAsked(nap_id=uuid4()) for _ in range(500)])
        live_bus.start("worker slow")
        live_bus.wait_for(lambda: live_bus.query("SELECT count(*) FROM outbox") == [(0,)], "all to be published", 120)
        beside = age_at_effect(live_bus)
        assert live_bus.wire.ready("slow.nap") > BEHIND * 0.9
    finally:
        live_bus.query("DELETE FROM broken WHERE what = 'slow'")
    # Twice a few milliseconds is less than a scheduler's whim.
    assert beside <= 2 * calm + 0.02, f"{beside * 1000:.0f} ms beside it, {calm * 1000:.0f} ms without"
    print(f"p99 {calm * 1000:.1f} ms without, {beside * 1000:.1f} ms beside it")
    live_bus.drain()
    live_bus.kill9("worker slow")
