"""The relay dies, and events commit in another order than they were recorded in."""

import signal
import subprocess
import sys
from threading import Event as Signal
from threading import Thread
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction

from eventbus import publish
from script._lib.local import ROOT
from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.stock import receive
from tests.testapp.events import ProbeSent
from tools.harness.broker_trouble import memory_alarm
from tools.harness.effects import miscounted
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = [pytest.mark.live, pytest.mark.faults]


def probe() -> UUID:
    with transaction.atomic():
        (event_id,) = publish(ProbeSent(probe_id=uuid4()))
    return event_id


def test_a_relay_that_dies_between_confirm_and_delete_a_hundred_times_repeats_and_loses_nothing(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink
) -> None:
    pipeline.kill9("relay")
    tap = pipeline.wire.tap("#")
    product = receive(10)
    shop.place_all([shop.order(product) for _ in range(5)])
    probes = [probe() for _ in range(5)]

    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.dying_relays", "100", "4"],
        cwd=ROOT, env=pipeline.env | {"FAILPOINT": "relay.after_confirm"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["100"]
    sent = [letter.properties["message_id"] for letter in pipeline.wire.take_all(tap)]
    assert len(sent) - len(set(sent)) >= 100

    pipeline.start("relay")
    assert set(effects.check(pipeline, shop, mail_sink).values()) == {"CONFIRMED"}
    for consumer in ("probe.count", "probe.audit"):
        assert pipeline.effects(consumer, *probes) == 5


def test_the_next_relay_takes_what_one_had_claimed_when_it_died(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink
) -> None:
    product = receive(1)
    pipeline.drain()
    pipeline.restart("relay", failpoint="relay.after_claim")
    order_id = shop.place(shop.order(product))
    assert pipeline["relay"].wait(20) == -9
    assert pipeline.query("SELECT count(*) > 0 FROM outbox") == [(True,)]

    pipeline.start("relay")

    assert effects.check(pipeline, shop, mail_sink)[order_id] == "CONFIRMED"


def test_a_relay_killed_under_load_loses_nothing(pipeline: LiveBus, shop: Shop, mail_sink: MailSink) -> None:
    with shop.placing(receive(10_000)):
        for _ in range(3):
            shop.wait_for_more()
            pipeline.restart("relay")
    assert set(effects.check(pipeline, shop, mail_sink).values()) == {"CONFIRMED"}


def test_an_event_that_commits_after_a_thousand_later_ones_is_not_skipped(pipeline: LiveBus) -> None:
    recorded, may_commit = Signal(), Signal()
    early: list[UUID] = []

    def commit_late() -> None:
        try:
            with transaction.atomic():
                early.extend(publish(ProbeSent(probe_id=uuid4())))
                recorded.set()
                assert may_commit.wait(60)
        finally:
            connection.close()

    late = Thread(target=commit_late)
    late.start()
    try:
        assert recorded.wait(10)
        later = [probe() for _ in range(1000)]
        # All of them went past it, with higher positions, while it was open.
        pipeline.wait_for(lambda: pipeline.effects("probe.count", *later) == 1000, "the thousand to be handled", 60)
        assert pipeline.effects("probe.count", *early) == 0
    finally:
        may_commit.set()
        late.join(20)

    pipeline.drain()
    assert pipeline.effects("probe.count", *early) == 1
    pipeline.verify()
    assert miscounted(pipeline, effects.COUNTING) == []


def test_what_a_stopped_relay_has_claimed_is_sent_by_another_within_half_a_minute(live_bus: LiveBus) -> None:
    live_bus.only("relay", "worker probe")
    with memory_alarm():
        event_id = probe()
        live_bus.wait_for(lambda: claims(live_bus) == 1, "the relay to wait for the broker inside its claim")
        live_bus["relay"].signal(signal.SIGSTOP)
    try:
        live_bus.ensure("relay 2")
        # What it had written to its socket arrives: only the outbox says who has the event.
        live_bus.wait_for(lambda: live_bus.query("SELECT count(*) FROM outbox") == [(0,)], "the other to have it")
    finally:
        live_bus["relay"].signal(signal.SIGCONT)
    live_bus.drain()
    live_bus.verify()
    assert live_bus.effects("probe.count", event_id) == 1


@pytest.mark.parametrize("end", [signal.SIGSTOP, signal.SIGKILL])
def test_a_relay_that_stands_by_takes_over_from_an_idle_one_within_seconds(
    live_bus: LiveBus, end: signal.Signals
) -> None:
    live_bus.only("relay", "worker probe")
    live_bus.drain()
    live_bus.ensure("relay 2")
    live_bus["relay"].signal(end)
    try:
        event_id = probe()
        live_bus.wait_for(lambda: live_bus.effects("probe.count", event_id) == 1, "the other to have it", 30)
    finally:
        live_bus["relay"].signal(signal.SIGCONT)


def claims(bus: LiveBus) -> int:
    """How many relays are inside a claim and wait for something else than the database."""
    ((number,),) = bus.query(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'relay' "
        "AND state = 'idle in transaction'"
    )
    return int(number)
