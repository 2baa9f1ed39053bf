"""Workers die, or are given what kills them."""

import os
import signal
from functools import partial
from uuid import uuid4

import pytest
from django.db import transaction

from eventbus import publish
from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.effects import WORKERS
from tests.support.stock import receive
from tests.support.trouble import ask, closed_gate
from tests.testapp.events import ProbeSent
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = [pytest.mark.live, pytest.mark.faults]


@pytest.mark.parametrize("failpoint", ["consumer.before_commit", "consumer.after_commit"])
def test_workers_that_die_around_their_commit_have_each_effect_once(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink, failpoint: str
) -> None:
    pipeline.restart(*WORKERS, failpoint=failpoint)
    order_id = shop.place(shop.order(receive(3)))
    with transaction.atomic():
        (probe,) = publish(ProbeSent(probe_id=uuid4()))

    # One after the other along the chain: each dies with the event in hand, and a sound one follows it.
    chain = ("worker probe", "worker inventory", "worker orders", "worker notifications")
    for worker in chain:
        pipeline.wait_for(partial(pipeline.lost_children, worker), f"a process of {worker} to die")
        pipeline.restart(worker)
    pipeline.restart(*set(WORKERS) - set(chain))

    assert effects.check(pipeline, shop, mail_sink)[order_id] == "CONFIRMED"
    assert pipeline.effects("probe.count", probe) == pipeline.effects("probe.audit", probe) == 1


@pytest.mark.parametrize(("failpoint", "in_doubt"), [("mail.before_send", 0), ("mail.after_send", 1)])
def test_a_worker_that_dies_while_it_sends_a_mail_sends_it_once_at_most(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink, failpoint: str, in_doubt: int
) -> None:
    pipeline.restart("worker notifications", failpoint=failpoint)
    shop.place(shop.order(receive(3)))
    pipeline.wait_for(lambda: pipeline.lost_children("worker notifications"), "a process to die over the mail")
    pipeline.restart("worker notifications")
    effects.check(pipeline, shop, mail_sink, in_doubt=in_doubt)


def test_a_killed_pool_process_gives_its_event_to_another_without_a_hot_loop(live_bus: LiveBus) -> None:
    live_bus.only("relay", "worker trouble")
    with closed_gate(live_bus):
        (event_id,) = ask("wait")
        live_bus.wait_for(lambda: live_bus.runs("trouble.obey", event_id) == 1, "the handler to begin")
        ((victim,),) = live_bus.query("SELECT pid FROM run WHERE event_id = %s", event_id)
        os.kill(victim, signal.SIGKILL)
        live_bus.wait_for(lambda: live_bus.runs("trouble.obey", event_id) == 2, "another process to take it")
    live_bus.drain()
    assert live_bus.runs("trouble.obey", event_id) == 2
    assert live_bus.effects("trouble.obey", event_id) == 1
    live_bus.verify()


def test_a_worker_whose_parent_alone_is_killed_is_followed_by_the_next(live_bus: LiveBus) -> None:
    """Its pool processes live on for a moment, with the event in hand: it still has one effect."""
    live_bus.only("relay", "worker trouble")
    with closed_gate(live_bus):
        (event_id,) = ask("wait")
        live_bus.wait_for(lambda: live_bus.runs("trouble.obey", event_id) == 1, "the handler to begin")
        os.kill(live_bus["worker trouble"].pid, signal.SIGKILL)
        live_bus.start("worker trouble 2")
        live_bus.wait_for(lambda: live_bus.runs("trouble.obey", event_id) >= 2, "the other worker to take it")
    live_bus.drain()
    assert live_bus.effects("trouble.obey", event_id) == 1
    live_bus.verify()
    live_bus.kill9("worker trouble", "worker trouble 2")


def test_workers_killed_under_load_lose_and_repeat_nothing(pipeline: LiveBus, shop: Shop, mail_sink: MailSink) -> None:
    with shop.placing(receive(10_000)):
        for worker in WORKERS:
            shop.wait_for_more()
            pipeline.restart(worker)
    # A mail that was on its way to the mail server when its process was killed is in doubt.
    statuses = effects.check(pipeline, shop, mail_sink, in_doubt=20)
    assert set(statuses.values()) == {"CONFIRMED"}


def test_an_event_that_kills_its_worker_each_time_becomes_a_dead_letter_and_takes_no_innocent_with_it(
    live_bus: LiveBus,
) -> None:
    live_bus.only("relay", "worker trouble")
    *innocents, killer = ask(*["succeed"] * 20, "die")
    live_bus.drain(120)

    assert live_bus.outcome("trouble.obey", killer) == "dead"
    (letter,) = live_bus.wire.take("trouble.obey.dead", 1)
    assert letter.properties["message_id"] == str(killer)
    assert letter.headers["x-dead-reason"] == "kills_its_worker"
    assert live_bus.effects("trouble.obey", *innocents) == 20
    assert live_bus.effects("trouble.watch", killer) == 1
    assert 2 <= live_bus.runs("trouble.obey", killer) <= 15
    live_bus.verify()


def test_an_event_that_raises_each_time_becomes_a_dead_letter_and_takes_no_innocent_with_it(
    live_bus: LiveBus,
) -> None:
    live_bus.only("relay", "worker trouble")
    *innocents, poison = ask(*["succeed"] * 20, "raise")
    live_bus.drain()
    (letter,) = live_bus.wire.take("trouble.obey.dead", 1)
    assert letter.properties["message_id"] == str(poison)
    assert letter.headers["x-dead-reason"] == "exhausted"
    assert live_bus.effects("trouble.obey", *innocents) == 20
    live_bus.verify()


def test_orders_are_answered_past_frozen_pool_processes_which_are_replaced(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink
) -> None:
    pipeline.restart("worker inventory", WORKER_PROCESSES="3")
    worker = pipeline["worker inventory"]
    frozen = worker.children()[:2]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    product = receive(100)
    wishes = [shop.order(product) for _ in range(20)]
    shop.place_all(wishes)
    statuses = effects.check(pipeline, shop, mail_sink, quiet=45)
    assert {statuses[wish.order_id] for wish in wishes if wish.order_id} == {"CONFIRMED"}
    replaced = {line["pid"] for line in worker.log_lines() if line["event"] == "worker.frozen_process"}
    assert replaced
    assert replaced <= set(frozen)
    assert len(worker.children()) == 3


def test_a_pool_process_that_is_frozen_in_the_midst_of_a_run_meets_its_time_limit(live_bus: LiveBus) -> None:
    live_bus.only("relay", "worker trouble")
    (event_id,) = ask("overrun")
    live_bus.wait_for(lambda: live_bus.runs("trouble.hurry", event_id) == 1, "the handler to begin")
    ((victim,),) = live_bus.query("SELECT pid FROM run WHERE consumer = 'trouble.hurry' AND event_id = %s", event_id)
    os.kill(victim, signal.SIGSTOP)
    live_bus.wait_for(lambda: live_bus.runs("trouble.hurry", event_id) == 2, "another process to take it")
    live_bus.wait_for(lambda: victim not in live_bus["worker trouble"].children(), "the end of the frozen one")
