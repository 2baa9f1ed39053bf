"""The servers die."""

import pytest
from django.db import connection

from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.stock import receive
from tools.harness.mail import MailSink
from tools.harness.servers import BROKER, POSTGRES, Servers
from tools.harness.shop import Shop

pytestmark = [pytest.mark.live, pytest.mark.faults]


def test_a_killed_broker_stops_no_intake_and_loses_nothing(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink, servers: Servers
) -> None:
    with shop.placing(receive(10_000)):
        shop.wait_for_more()
        servers.kill(BROKER)
        shop.wait_for_more()
        servers.restart(BROKER)
        shop.wait_for_more()
    assert set(shop.statuses) == {201}
    assert set(effects.check(pipeline, shop, mail_sink, in_doubt=20).values()) == {"CONFIRMED"}
    assert all(pipeline[name].is_alive for name in effects.PIPELINE)


@pytest.mark.parametrize("how", ["immediate stop", "kill"])
def test_a_postgresql_that_dies_loses_no_accepted_order(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink, servers: Servers, how: str
) -> None:
    with shop.placing(receive(10_000)):
        shop.wait_for_more()
        if how == "kill":
            servers.kill(POSTGRES)
        else:
            pid = servers.stop_at_once(POSTGRES)
            assert pid is not None
            servers.await_end(POSTGRES, pid)
        pipeline.wait_for(lambda: shop.statuses[503] > 0, "a 503")
        servers.restart(POSTGRES)
        shop.wait_for_more()
    # Ours was cut too.
    connection.close()
    assert set(effects.check(pipeline, shop, mail_sink, in_doubt=20).values()) == {"CONFIRMED"}
    assert set(shop.statuses) <= {201, 409, 503}
    assert all(pipeline[name].is_alive for name in effects.PIPELINE)
