"""Fault 12: the broker is short of memory or disk and takes nothing from publishers."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from eventbus import publish
from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE
from tests.support.stock import receive
from tests.support.trouble import ask
from tests.testapp.events import NapAsked, ProbeSent
from tools.harness.broker_trouble import disk_alarm, memory_alarm
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = [pytest.mark.live, pytest.mark.faults]

EITHER_ALARM = pytest.mark.parametrize("alarm", [memory_alarm, disk_alarm])
GROUPS = {
    "worker probe": ("probe.count", "probe.audit"),
    "worker trouble": ("trouble.obey", "trouble.watch", "trouble.hurry"),
    "worker slow": ("slow.nap",),
}
QUEUES = [queue for queues in GROUPS.values() for queue in queues]


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
        live_bus.wait_for(lambda: "relay.interrupted" in live_bus["relay"].says(), "the relay to give up")
    live_bus.drain()
    assert live_bus["relay"].is_alive
    assert live_bus.effects("probe.count", *ids) == len(ids)


def test_a_worker_that_starts_during_an_alarm_consumes_whatever_it_is_asked_meanwhile(live_bus: LiveBus) -> None:
    """Consuming is what would end the alarm."""
    live_bus.only("relay")
    live_bus.query("INSERT INTO broken VALUES ('slow')")
    naps = take_naps(40)
    live_bus.wait_for(lambda: live_bus.query("SELECT count(*) FROM outbox") == [(0,)], "the relay")
    with memory_alarm():
        live_bus.start("worker slow")
        # As Flower does it. The broker lets a connection's first publish through.
        for _ in range(2):
            live_bus.run("-m", "celery", "-A", "config", "inspect", "ping", "--timeout", "1")
        live_bus.wait_for(lambda: done(live_bus, *naps) == len(naps), "all to be handled", 60)
        live_bus.wait_for(lambda: in_hand(live_bus, "slow.nap") == 0, "its acknowledgements", 60)
        live_bus.term("worker slow")
    live_bus.query("DELETE FROM broken WHERE what = 'slow'")


@EITHER_ALARM
def test_workers_that_run_when_an_alarm_begins_consume_all_that_waits(
    live_bus: LiveBus, alarm: Callable[[], AbstractContextManager[None]]
) -> None:
    """One is in the midst of its work, the others have only heard of it."""
    live_bus.only("relay", *GROUPS)
    live_bus.query("INSERT INTO broken VALUES ('slow')")
    with frozen(live_bus, "worker probe", "worker trouble") as thawed:
        asked = ask(*["succeed"] * 300)
        with transaction.atomic():
            probes = publish(*[ProbeSent(probe_id=uuid4()) for _ in range(1000)])
        naps = take_naps(40)
        live_bus.wait_for(lambda: live_bus.query("SELECT count(*) FROM outbox") == [(0,)], "the relay")
        with alarm():
            thawed()
            all_done = 2 * len(probes) + 3 * len(asked) + len(naps)
            live_bus.wait_for(lambda: done(live_bus, *probes, *asked, *naps) == all_done, "all to be handled", 60)
            live_bus.wait_for(lambda: not any(in_hand(live_bus, queue) for queue in QUEUES), "acknowledgements", 60)
    live_bus.query("DELETE FROM broken WHERE what = 'slow'")
    assert live_bus.effects("probe.count", *probes) == len(probes)


@EITHER_ALARM
def test_what_is_given_up_during_an_alarm_holds_up_nothing(
    live_bus: LiveBus, alarm: Callable[[], AbstractContextManager[None]]
) -> None:
    """A dead letter has to be published, and waits for that where it is in nobody's way."""
    live_bus.only("relay", "worker trouble")
    with frozen(live_bus, "worker trouble") as thawed:
        asked = ask(*["give up", "succeed"] * 20, *["succeed"] * 100)
        live_bus.wait_for(lambda: live_bus.query("SELECT count(*) FROM outbox") == [(0,)], "the relay")
        with alarm():
            thawed()
            live_bus.wait_for(
                lambda: live_bus.effects("trouble.obey", *asked) == 120, "the good ones to be handled", 60
            )
            live_bus.wait_for(lambda: in_hand(live_bus, "trouble.obey") == 0, "the bad ones to be settled", 60)
    live_bus.wait_for(lambda: live_bus.query("SELECT count(*) FROM waiting_retry") == [(0,)], "what was put off", 60)
    given_up = {letter.properties["message_id"] for letter in live_bus.wire.take("trouble.obey.dead", 20)}
    assert given_up == {str(event_id) for event_id in asked[:40:2]}


@contextmanager
def frozen(bus: LiveBus, *names: str) -> Iterator[Callable[[], None]]:
    """Inside, the processes are stopped, until what is given is called, or the block ends."""

    def thaw() -> None:
        for name in names:
            bus[name].signal(signal.SIGCONT)

    for name in names:
        bus[name].signal(signal.SIGSTOP)
    try:
        yield thaw
    finally:
        thaw()


def take_naps(number: int) -> list[UUID]:
    """Work for eight seconds, of which no part meets a time limit, however busy the machine is."""
    with transaction.atomic():
        return publish(*[NapAsked(nap_id=uuid4()) for _ in range(number)])


def done(bus: LiveBus, *event_ids: UUID) -> int:
    """How often one of these events has had its effect at one of its consumers."""
    ((found,),) = bus.query(
        "SELECT count(*) FROM processed_event WHERE outcome = 'done' AND event_id = ANY(%s)", list(event_ids)
    )
    return int(found)


def in_hand(bus: LiveBus, queue: str) -> int | None:
    """How many messages the broker has in this queue, delivered ones included; None while it has not counted."""
    (found,) = (each for each in bus.management("queues") if each["name"] == queue)
    return found.get("messages")
