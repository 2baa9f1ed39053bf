"""The API dies while it takes an order in."""

import os
import signal
from uuid import uuid4

import httpx
import pytest

from script._lib.process import Process
from script._lib.service import command_line
from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.stock import receive
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = [pytest.mark.live, pytest.mark.faults]


def stored(bus: LiveBus, shop: Shop) -> int:
    ((orders,),) = bus.query("SELECT count(*) FROM orders_order WHERE channel_id = %s", shop.channel_id)
    return int(orders)


def test_an_api_that_dies_after_the_commit_gives_the_same_order_to_the_repeat(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink
) -> None:
    wish, key = shop.order(receive(5)), uuid4().hex
    pipeline.restart("web", failpoint="intake.after_commit")
    with pytest.raises(httpx.TransportError):
        shop.post(wish, key=key)
    assert stored(pipeline, shop) == 1

    pipeline.restart("web")
    answer = shop.post(wish, key=key)

    assert answer.status_code == 201
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert stored(pipeline, shop) == 1
    effects.check(pipeline, shop, mail_sink)


def test_an_api_that_dies_before_the_commit_leaves_no_order_and_no_event(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink
) -> None:
    wish, key = shop.order(receive(5)), uuid4().hex
    pipeline.restart("web", failpoint="intake.before_commit")
    with pytest.raises(httpx.TransportError):
        shop.post(wish, key=key)
    assert stored(pipeline, shop) == 0
    customers = pipeline.query("SELECT data->>'customerId' FROM event WHERE type = 'order.created'")
    assert (wish.body["customerId"],) not in customers

    pipeline.restart("web")
    answer = shop.post(wish, key=key)

    assert answer.status_code == 201
    assert "Idempotent-Replayed" not in answer.headers
    effects.check(pipeline, shop, mail_sink)


def test_a_killed_web_server_loses_no_accepted_order(pipeline: LiveBus, shop: Shop, mail_sink: MailSink) -> None:
    with shop.placing(receive(10_000)):
        for _ in range(2):
            shop.wait_for_more()
            pipeline.restart("web")
        shop.wait_for_more()
    assert set(effects.check(pipeline, shop, mail_sink).values()) == {"CONFIRMED"}


def test_a_killed_web_worker_is_replaced_and_the_others_go_on(live_bus: LiveBus, shop: Shop) -> None:
    live_bus.ensure("web")
    web, product = live_bus["web"], receive(10)
    main, (victim, survivor) = web.pid, workers_of(web)
    os.kill(victim, signal.SIGKILL)
    replaced = live_bus.wait_for(
        lambda: [pid for pid in workers_of(web) if pid not in (victim, survivor)], "a worker in its place"
    )
    assert web.pid == main
    assert set(workers_of(web)) == {survivor, *replaced}
    assert shop.post(shop.order(product), key=uuid4().hex).status_code == 201


def workers_of(web: Process) -> list[int]:
    """The processes that answer requests."""
    return [pid for pid in web.children() if b"granian" in command_line(pid)]
