"""The servers die."""

import pytest
from django.db import connection

from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.mail import MailSink
from tests.support.servers import Servers
from tests.support.shop import Shop
from tests.support.stock import receive

pytestmark = [pytest.mark.live, pytest.mark.faults]


@pytest.fixture
def servers() -> Servers:
    return Servers()


def test_a_killed_broker_stops_no_intake_and_loses_nothing(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink, servers: Servers
) -> None:
    product = receive(200)
    with shop.placing([shop.order(product) for _ in range(60)]):
        pipeline.wait_for(lambda: len(shop.accepted) >= 15, "some orders")
        servers.kill("rabbitmq")
    # While the broker is down.
    shop.place_all([shop.order(product) for _ in range(10)])
    assert shop.statuses == {201: 70}

    servers.start("rabbitmq")

    assert set(effects.check(pipeline, shop, mail_sink).values()) == {"CONFIRMED"}
    assert all(process.is_alive for process in pipeline.processes.values() if process.name in effects.PIPELINE)


@pytest.mark.parametrize("how", ["immediate stop", "kill"])
def test_a_postgresql_that_dies_loses_no_accepted_order(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink, servers: Servers, how: str
) -> None:
    product = receive(200)
    try:
        with shop.placing([shop.order(product) for _ in range(60)]) as placed:
            pipeline.wait_for(lambda: len(shop.accepted) >= 15, "some orders")
            if how == "kill":
                servers.kill("postgres")
            else:
                servers.stop_postgres_immediately()
            pipeline.wait_for(lambda: shop.statuses[503] > 0, "a 503")
            servers.start("postgres")
        assert len(set(placed())) == 60
    finally:
        # Ours was cut too.
        connection.close()

    statuses = effects.check(pipeline, shop, mail_sink, in_doubt=20)
    assert set(statuses.values()) == {"CONFIRMED"}
    assert set(shop.statuses) <= {201, 409, 503}
    assert all(process.is_alive for process in pipeline.processes.values() if process.name in effects.PIPELINE)
