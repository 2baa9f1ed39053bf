"""Three RabbitMQ nodes: restarted one after the other, and cut off from each other, while orders flow."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from time import monotonic
from uuid import uuid4

import httpx
import pytest
from django.contrib.auth.models import User
from pytest_django.plugin import DjangoDbBlocker

from api import tokens
from script._lib.waiting import comes_true, wait_until
from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.stock import receive
from tools.harness.cluster import Cluster, Network, Node
from tools.harness.mail import MailSink
from tools.harness.shop import Shop

pytestmark = [pytest.mark.live, pytest.mark.faults, pytest.mark.long]

DECLARING = "pipeline_declaring"
WORKERS = ("worker probe", *effects.PIPELINE)
#: How long the oldest event in the outbox has been waiting to be published.
LAG = """
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(e.occurred_at)), 0)::float8
FROM outbox o JOIN event e ON e.id = o.event_id
"""


@contextmanager
def product_on(
    cluster: Cluster, mail_sink: MailSink, logs: Path, blocker: DjangoDbBlocker
) -> Iterator[tuple[LiveBus, Shop]]:
    """The whole product with all three nodes as its BROKER_URL."""
    first, name = cluster.nodes[0], f"cluster_{uuid4().hex[:8]}"
    try:
        cluster.start()
        # The management of a node that no test cuts off.
        urls = {
            "BROKER_URL": first.url(name),
            "DECLARING_BROKER_URL": first.url(name, DECLARING),
            "MANAGEMENT_URL": cluster.nodes[1].management_url(),
        }
        bus = LiveBus(name, smtp_port=mail_sink.port, logs=logs, **urls)
        bus.env |= {"BROKER_URL": cluster.urls(name), "DECLARING_BROKER_URL": cluster.urls(name, DECLARING)}
        try:
            bus.create()
            bus.start(*WORKERS)
            with blocker.unblock(), bus.as_default_database():
                token, _ = tokens.create_channel(name="shop", days=1)
                shop = Shop(f"http://127.0.0.1:{bus.web_port}/api/v1", token, User.objects.get(username="shop").pk)
                yield bus, shop
                shop.close()
        finally:
            # The virtual host goes with the cluster, of which a node may still be cut off.
            bus.kill9(*bus.processes)
            bus.drop_database()
    finally:
        cluster.stop()


@contextmanager
def flowing(shop: Shop, product: str) -> Iterator[None]:
    """A few orders a second while the block runs."""
    over = Flag()

    def place() -> None:
        while not over.wait(0.25):
            shop.place(shop.order(product))

    customer = Thread(target=place)
    customer.start()
    try:
        yield
    finally:
        over.set()
        customer.join(90)


def can_be_spared(node: Node) -> bool:
    """Whether every quorum queue keeps its majority without this node."""
    try:
        url = f"{node.management_url()}/api/health/checks/node-is-quorum-critical"
        return httpx.get(url, trust_env=False, timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def test_a_rolling_restart_loses_nothing(
    mail_sink: MailSink, tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker
) -> None:
    cluster = Cluster()
    logs = tmp_path_factory.mktemp("rolling")
    with product_on(cluster, mail_sink, logs, django_db_blocker) as (bus, shop):
        product = receive(10_000)
        with flowing(shop, product):
            for node in cluster.nodes:
                wait_until(partial(can_be_spared, node), 90, f"{node.name} to be dispensable")
                node.stop_alone()
                node.await_ready(node.spawn())

        statuses = effects.check(bus, shop, mail_sink)

        assert set(statuses.values()) == {"CONFIRMED"}
        assert len(statuses) > 20
        assert set(shop.statuses) == {201}, "intake needs no broker"


def test_a_cut_network_delays_publishing_and_loses_nothing(
    mail_sink: MailSink,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: DjangoDbBlocker,
    record_property: Callable[[str, object], None],
) -> None:
    network = Network()
    if why := network.missing():
        pytest.skip(why)
    cluster = Cluster(network)
    logs = tmp_path_factory.mktemp("cut")
    with product_on(cluster, mail_sink, logs, django_db_blocker) as (bus, shop):
        product = receive(10_000)
        with flowing(shop, product):
            # The relay talks to the first node, and afterwards to the second.
            for number, seconds in ((1, 10), (2, 30)):
                gap = longest_wait(bus, network, number, seconds)
                bring_back(cluster.nodes[number - 1])
                print(f"network cut for {seconds} s: an event waited {gap:.1f} s at most to be published")
                record_property(f"publishing_gap_at_{seconds}_s", round(gap, 1))

        statuses = effects.check(bus, shop, mail_sink)

        assert set(statuses.values()) == {"CONFIRMED"}
        assert set(shop.statuses) == {201}, "intake needs no broker"


def bring_back(node: Node) -> None:
    """RabbitMQ 3.10 does not always find back by itself after a cut: an operator restarts the node then."""
    if not comes_true(node.answers, 20):
        if pid := node.pid():
            node.kill(pid)
        node.await_ready(node.spawn())


def longest_wait(bus: LiveBus, network: Network, number: int, seconds: float) -> float:
    """Cut off a node for so long; returns the longest time an event waited in the outbox."""
    longest = 0.0

    def lag() -> float:
        nonlocal longest
        ((waited,),) = bus.query(LAG)
        longest = max(longest, waited)
        return float(waited)

    end = monotonic() + seconds
    network.cut_off(number)
    try:
        wait_until(lambda: lag() < 0 or monotonic() > end, seconds + 10, "the cut to last")
    finally:
        network.join(number)
    wait_until(lambda: lag() < 1, 120, "publishing to go on")
    return longest
