"""What the broker may do: deliver often, in any order, and to everybody what is meant for nobody."""

import random
from collections import defaultdict
from functools import partial
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from eventbus import Consumer, publish
from eventbus.declaration import CONSUMERS
from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.effects import WORKERS
from tests.support.stock import receive
from tests.support.wire import Letter
from tests.testapp.events import ProbeSent
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = [pytest.mark.live, pytest.mark.faults]

SECOND = tuple(f"{worker} 2" for worker in WORKERS)


def probes(number: int, *, of_each: int = 1) -> list[UUID]:
    with transaction.atomic():
        return publish(*(ProbeSent(probe_id=aggregate) for aggregate in [uuid4() for _ in range(number)] * of_each))


def test_every_event_delivered_ten_times_to_two_workers_each_has_one_effect(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink
) -> None:
    pipeline.ensure(*SECOND)
    tap = pipeline.wire.tap("#")
    product, scarce = receive(20), receive(1)
    shop.place_all([shop.order(product if n % 2 else scarce) for n in range(20)])
    event_ids = probes(30)
    pipeline.drain()
    letters = pipeline.wire.take_all(tap)
    before = effects.check(pipeline, shop, mail_sink)

    again = letters * 9
    random.Random(9).shuffle(again)
    pipeline.wire.publish_all(again)
    pipeline.empty_queues(*WORKERS, *SECOND)

    assert len({letter.properties["message_id"] for letter in letters}) >= 20 * 5 - 10 + 30
    assert effects.check(pipeline, shop, mail_sink) == before
    for consumer in ("probe.count", "probe.audit"):
        assert pipeline.effects(consumer, *event_ids) == 30


def test_events_that_arrive_in_any_order_lead_to_the_same_end(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink
) -> None:
    """Each order's events again, several times, shuffled among themselves: the end stays the end."""
    tap = pipeline.wire.tap("#")
    product, scarce = receive(10), receive(2)
    shop.place_all([shop.order(product if n % 2 else scarce, quantity=2) for n in range(10)])
    pipeline.drain()
    before = effects.check(pipeline, shop, mail_sink)
    by_order: dict[str, list[Letter]] = defaultdict(list)
    for letter in pipeline.wire.take_all(tap):
        by_order[letter.envelope["metadata"]["correlationId"]].append(letter)

    shuffle = random.Random(10).shuffle
    for letters in by_order.values():
        for _ in range(3):
            shuffle(letters)
            pipeline.wire.publish_all(letters)
    pipeline.empty_queues(*WORKERS)

    assert effects.check(pipeline, shop, mail_sink) == before


def test_first_deliveries_in_any_order_have_one_effect_each(pipeline: LiveBus) -> None:
    """Another program hands the events over shuffled before the relay does it in order."""
    pipeline.kill9("relay", "worker probe")
    event_ids = probes(10, of_each=10)
    bodies = pipeline.outgoing(event_ids)
    random.Random(10).shuffle(bodies)
    pipeline.wire.publish_all(bodies)
    pipeline.start("relay", "worker probe")
    pipeline.drain()
    pipeline.empty_queues("worker probe")
    for consumer in ("probe.count", "probe.audit"):
        assert pipeline.effects(consumer, *event_ids) == 100
    pipeline.verify()


def test_garbage_in_every_queue_is_set_aside_with_a_reason_and_the_pipeline_goes_on(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink
) -> None:
    running = [each for each in CONSUMERS.values() if f"worker {each.group}" in WORKERS]
    for consumer in running:
        for garbage in (b"hello", b"[]", b"\x80\x04", b"x" * 2_000_000):
            pipeline.wire.publish(garbage, exchange="", key=consumer.name)
    order_id = shop.place(shop.order(receive(1)))

    assert effects.check(pipeline, shop, mail_sink)[order_id] == "CONFIRMED"
    for consumer in running:
        pipeline.wait_for(partial(garbage_is_set_aside, pipeline, consumer), consumer.name)
        reasons = [letter.headers["x-dead-reason"] for letter in pipeline.wire.take_all(consumer.dead_queue)]
        assert sorted(reasons) == ["invalid_envelope", "not_json", "not_json", "too_large"]


def garbage_is_set_aside(bus: LiveBus, consumer: Consumer) -> bool:
    return bus.wire.ready(consumer.dead_queue) == 4


def test_a_missing_dead_letter_queue_delays_its_letters_and_loses_none(live_bus: LiveBus) -> None:
    live_bus.only("relay", "worker probe")
    with live_bus.wire.channel() as channel:
        channel.queue_unbind("probe.count.dead", "orders.dead", "probe.count")
    live_bus.wire.publish(b"hello", key="probe.sent.v1")
    live_bus.wait_for(lambda: live_bus.wire.take_all("probe.audit.dead"), "the neighbour's dead letter")
    assert live_bus.wire.ready("probe.count.dead") == 0

    live_bus.manage("declare_topology")

    (letter,) = live_bus.wait_for(lambda: live_bus.wire.take_all("probe.count.dead"), "the delayed dead letter")
    assert letter.headers["x-dead-reason"] == "not_json"
