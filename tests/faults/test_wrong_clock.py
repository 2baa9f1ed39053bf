"""A machine whose clock is wrong: what several processes compare goes by the database's."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F

from eventbus.archive import first_id_at
from orders import tasks
from orders.models import Order
from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE
from tests.support.stock import receive
from tools.harness.clock import LIBRARY, wrong_by
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = [
    pytest.mark.live,
    pytest.mark.faults,
    pytest.mark.skipif(LIBRARY is None, reason="no libfaketime: install the package faketime"),
]


@pytest.mark.parametrize("clock", ["-1h", "+1h"])
@pytest.mark.parametrize("where", ["web", "worker orders"])
def test_nobody_suffers_from_a_clock_that_is_an_hour_off(
    live_bus: LiveBus, shop: Shop, mail_sink: MailSink, where: str, clock: str
) -> None:
    live_bus.ensure(*PIPELINE)
    live_bus.restart(where, **wrong_by(clock))
    try:
        product = receive(100)
        orders = shop.place_all([shop.order(product, quantity=1) for _ in range(20)])
        tasks.resolve_stuck()
        assert set(effects.check(live_bus, shop, mail_sink).values()) == {"CONFIRMED"}
    finally:
        live_bus.kill9(where)
    with connection.cursor() as cursor:
        cursor.execute("SELECT now() - interval '5 minutes', now()")
        ((began, now),) = cursor.fetchall()
    placed = Order.objects.filter(pk__in=orders)
    assert placed.filter(created_at__range=(began, now), updated_at__gte=F("created_at")).count() == 20
    assert placed.filter(pk__range=(first_id_at(began), first_id_at(now + timedelta(seconds=1)))).count() == 20
