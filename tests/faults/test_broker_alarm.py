"""Fault 12: the broker is short of memory and takes nothing from publishers."""

from time import monotonic
from uuid import uuid4

import pytest
from django.db import transaction

from eventbus import publish
from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE
from tests.support.stock import receive
from tests.support.trouble import ask, closed_gate
from tests.testapp.events import ProbeSent
from tools.harness.broker_trouble import memory_alarm
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = [pytest.mark.live, pytest.mark.faults]


def seconds_per_order(shop: Shop, product: str, orders: int) -> float:
    """The time within which 95 of 100 are answered."""
    taken = []
    for _ in range(orders):
        began = monotonic()
        assert shop.post(shop.order(product)).status_code == 201
        taken.append(monotonic() - began)
    return sorted(taken)[int(orders * 0.95)]


def test_intake_goes_on_through_a_memory_alarm_and_everything_arrives_after_it(
    live_bus: LiveBus, shop: Shop, mail_sink: MailSink
) -> None:
    live_bus.only(*PIPELINE)
    product = receive(500)
    calm = seconds_per_order(shop, product, 60)
    with memory_alarm():
        in_alarm = seconds_per_order(shop, product, 60)
        ((waiting,),) = live_bus.query("SELECT count(*) FROM outbox")
        assert waiting > 0
    # A shared machine has hiccups of its own.
    assert in_alarm <= 2 * calm + 0.05
    effects.check(live_bus, shop, mail_sink)


def test_the_relay_gives_a_silent_broker_up_in_time_and_resumes(live_bus: LiveBus) -> None:
    live_bus.only("relay", "worker probe")
    ids = []
    with memory_alarm():
        # The broker still reads the first window of a connection, and nothing after it.
        for _ in range(2):
            with transaction.atomic():
                ids += publish(*[ProbeSent(probe_id=uuid4()) for _ in range(600)])
        live_bus.wait_for(lambda: "relay.interrupted" in live_bus["relay"].says(), "the relay to give up", 45)
    live_bus.drain()
    assert live_bus["relay"].is_alive
    assert live_bus.effects("probe.count", *ids) == len(ids)


def test_a_worker_that_starts_during_an_alarm_consumes_whatever_it_is_asked_meanwhile(live_bus: LiveBus) -> None:
    """Consuming is what would end the alarm."""
    live_bus.only("relay")
    asked = ask("wait", *["succeed"] * 20)
    live_bus.wait_for(lambda: live_bus.query("SELECT count(*) FROM outbox") == [(0,)], "the relay")
    with memory_alarm():
        with closed_gate(live_bus):
            live_bus.start("worker trouble")
            live_bus.wait_for(lambda: live_bus.runs("trouble.obey", asked[0]), "the handler to begin")
            # As Flower does it. The broker lets a connection's first publish through.
            for _ in range(2):
                live_bus.run("-m", "celery", "-A", "config", "inspect", "ping", "--timeout", "1")
        live_bus.wait_for(lambda: live_bus.effects("trouble.obey", *asked) == 21, "the effects", 20)
        live_bus.wait_for(lambda: in_hand(live_bus, "trouble.obey") == 0, "its acknowledgements", 20)
        live_bus.term("worker trouble")


def in_hand(bus: LiveBus, queue: str) -> int | None:
    """How many messages the broker has in this queue, delivered ones included; None while it has not counted."""
    (found,) = (each for each in bus.management("queues") if each["name"] == queue)
    return found.get("messages")
