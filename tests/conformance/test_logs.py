import json
from functools import partial
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from eventbus import publish
from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE
from tests.support.stock import receive
from tests.testapp.events import ProbeSent, TroubleAsked
from tools.harness.shop import Shop

pytestmark = pytest.mark.live


def test_every_line_of_every_process_is_json(live_bus: LiveBus) -> None:
    names = ("relay", "worker probe", "worker trouble")
    live_bus.only()
    live_bus.start(*names)
    with transaction.atomic():
        publish(ProbeSent(probe_id=uuid4()), TroubleAsked(trouble_id=uuid4(), how="give up"))
    live_bus.drain()
    live_bus.wire.take("trouble.obey.dead", 1)
    for name in names:
        for line in live_bus[name].says().splitlines():
            assert isinstance(json.loads(line), dict), f"{name}: {line}"


def test_lines_about_an_event_carry_its_ids(live_bus: LiveBus) -> None:
    live_bus.ensure("relay", "worker probe", "worker trouble")
    probe, trouble = ProbeSent(probe_id=uuid4()), TroubleAsked(trouble_id=uuid4(), how="give up")
    with transaction.atomic():
        probe_event, trouble_event = publish(probe, trouble)
    live_bus.drain()

    (done,) = lines_about(live_bus, "worker probe", probe_event, "probe.count")
    assert done["event"] == "event.processed"
    assert done["probe_id"] == str(probe.probe_id)
    live_bus.wire.take("trouble.obey.dead", 1)
    about = partial(lines_about, live_bus, "worker trouble", trouble_event, "trouble.obey")
    (dead,) = live_bus.wait_for(about, "the line about the dead letter")
    assert (dead["event"], dead["reason"]) == ("event.dead_lettered", "permanent")
    assert dead["correlation_id"] == done["correlation_id"]


def test_one_correlation_id_leads_through_the_logs_of_all_processes(live_bus: LiveBus, shop: Shop) -> None:
    names = ("web", "worker orders", "worker inventory", "worker notifications")
    live_bus.ensure(*PIPELINE)
    correlation_id = f"logs-{uuid4()}"
    order_id = UUID(shop.post(shop.order(receive(1)), **{"x-correlation-id": correlation_id}).json()["orderId"])
    live_bus.drain()
    for name in names:
        lines = [line for line in live_bus[name].log_lines() if line.get("correlation_id") == correlation_id]
        assert lines, f"{name} says nothing of {correlation_id}"
    about_order = [line for line in live_bus["worker orders"].log_lines() if line.get("order_id") == str(order_id)]
    assert {line["consumer"] for line in about_order} == {"orders.confirm"}


def test_logs_tell_nothing_of_the_customer(live_bus: LiveBus, shop: Shop) -> None:
    """Also when something fails: a dead letter's traceback must not show what the code had in hand."""
    live_bus.ensure(*PIPELINE)
    wish = shop.order(receive(1))
    tap = live_bus.wire.tap("order.confirmed.v1")
    shop.place(wish)
    live_bus.drain()
    (confirmed,) = live_bus.wire.take_all(tap)
    # The same event with an order id that is none: valid JSON, not a valid event, and full of personal data.
    broken = confirmed.body.replace(b'"orderId": "', b'"orderId": "x')
    live_bus.wire.publish(broken, key="order.confirmed.v1")
    live_bus.wait_for(lambda: live_bus.wire.take_all("notifications.queue_confirmation.dead"), "the dead letter")
    for name in PIPELINE:
        said = live_bus[name].says()
        assert wish.email not in said
        assert wish.body["customerId"] not in said
        assert wish.body["shippingAddress"]["street"] not in said


def lines_about(bus: LiveBus, process: str, event_id: UUID, consumer: str) -> list[dict[str, str]]:
    found = [
        line
        for line in bus[process].log_lines()
        if (line.get("event_id"), line.get("consumer")) == (str(event_id), consumer)
    ]
    assert all(line.get("correlation_id") for line in found)
    return found
