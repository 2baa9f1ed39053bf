"""The servers die."""

from collections.abc import Iterator

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
def servers() -> Iterator[Servers]:
    """The servers of this test run; whatever the test did to them, they run after it."""
    ours = Servers()
    yield ours
    ours.start("postgres")
    ours.start("rabbitmq")


def test_a_killed_broker_stops_no_intake_and_loses_nothing(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink, servers: Servers
) -> None:
    with shop.placing(receive(10_000)):
        shop.wait_for_more()
        servers.kill("rabbitmq")
        shop.wait_for_more()
        servers.start("rabbitmq")
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
            servers.kill("postgres")
        else:
            servers.stop_postgres_immediately()
        pipeline.wait_for(lambda: shop.statuses[503] > 0, "a 503")
        servers.start("postgres")
        shop.wait_for_more()
    # Ours was cut too.
    connection.close()
    assert set(effects.check(pipeline, shop, mail_sink, in_doubt=20).values()) == {"CONFIRMED"}
    assert set(shop.statuses) <= {201, 409, 503}
    assert all(pipeline[name].is_alive for name in effects.PIPELINE)
