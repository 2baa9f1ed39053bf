"""The deadline of an order counts only the time in which somebody could have answered it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orders import queries, tasks
from orders.models import Order
from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE
from tests.support.stock import receive
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = [pytest.mark.live, pytest.mark.faults]


def overdue_alarm(bus: LiveBus) -> str:
    report = json.loads(bus.run("manage.py", "check_alarms", "--json", ORDER_DEADLINE="1").stdout)
    (state,) = [each["state"] for each in report["alarms"] if each["alarm"] == "orders_overdue"]
    return str(state)


@pytest.mark.parametrize("sick", ["relay", "worker inventory", "worker orders"])
def test_orders_that_nobody_could_answer_wait_and_are_alarmed_and_then_they_are_confirmed(
    live_bus: LiveBus, shop: Shop, mail_sink: MailSink, settings: Any, sick: str
) -> None:
    settings.ORDER_DEADLINE = timedelta(seconds=1)
    live_bus.ensure(*PIPELINE)
    product = receive(100)
    live_bus.kill9(sick)
    orders = shop.place_all([shop.order(product, quantity=1) for _ in range(3)])
    late = Order.objects.filter(pk__in=orders)
    live_bus.wait_for(lambda: queries.overdue(late, datetime.now(UTC)).count() == 3, "the orders to be overdue")

    tasks.resolve_stuck()

    assert set(late.values_list("status", flat=True)) == {"CREATED"}
    assert overdue_alarm(live_bus) == "firing"
    live_bus.ensure(sick)
    assert set(effects.check(live_bus, shop, mail_sink).values()) == {"CONFIRMED"}
    assert overdue_alarm(live_bus) == "ok"
