"""Fault 18: one consumer is slow and 20,000 events behind."""

from functools import partial
from uuid import uuid4

import pytest
from django.db import transaction

from eventbus.publishing import publish
from tests.support.bus import LiveBus
from tests.testapp.events import NapAsked, ProbeSent

pytestmark = [pytest.mark.live, pytest.mark.faults, pytest.mark.long]

BEHIND = 20_000
AGES = """
SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM p.processed_at - e.occurred_at)::float8)
FROM processed_event p JOIN event e ON e.id = p.event_id WHERE p.consumer = 'probe.count' AND e.id = ANY(%s)
"""


def age_at_processing(bus: LiveBus, events: int) -> float:
    """The 99th percentile, in seconds, of events that go one after the other."""
    ids = []
    for _ in range(events):
        with transaction.atomic():
            ids += publish(ProbeSent(probe_id=uuid4()))
        bus.wait_for(partial(bus.outcome, "probe.count", ids[-1]), "an event to be handled")
    return float(bus.query(AGES, ids)[0][0])


def test_one_slow_consumer_slows_nobody_else(live_bus: LiveBus) -> None:
    live_bus.only("relay", "worker probe")
    calm = age_at_processing(live_bus, 100)
    live_bus.query("INSERT INTO broken VALUES ('slow')")
    try:
        for _ in range(BEHIND // 500):
            with transaction.atomic():
                publish(*[NapAsked(nap_id=uuid4()) for _ in range(500)])
        live_bus.start("worker slow")
        live_bus.wait_for(lambda: live_bus.query("SELECT count(*) FROM outbox") == [(0,)], "all to be published", 120)
        beside = age_at_processing(live_bus, 100)
        assert live_bus.wire.ready("slow.nap") > BEHIND * 0.9
    finally:
        live_bus.query("DELETE FROM broken WHERE what = 'slow'")
    # A shared machine has hiccups of its own.
    assert beside <= 2 * calm + 0.1
    live_bus.drain(120)
    live_bus.kill9("worker slow")
