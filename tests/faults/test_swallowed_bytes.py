"""Something between a process and a server swallows every byte and acknowledges it: a sick proxy, a frozen server."""

import signal
from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from django.db import transaction

from eventbus import publish
from eventbus.db.locks import AdvisoryLock
from tests.support.bus import LiveBus
from tests.testapp.events import ProbeSent
from tools.chaos.network import Network

pytestmark = [pytest.mark.live, pytest.mark.faults]

PROCESSES = ("relay", "dead letters", "worker probe", "worker eventbus", "web", "beat")
KINDS = ["relay", "worker_dead_letters", "worker_probe", "worker_eventbus", "web", "beat"]


#: The variables that hold the servers' addresses, and over which way each leads.
ADDRESSES = {
    "DATABASE_URL": "DATABASE_URL",
    "OWNER_DATABASE_URL": "DATABASE_URL",
    "BROKER_URL": "BROKER_URL",
    "DECLARING_BROKER_URL": "BROKER_URL",
}


class Ways:
    """The ways to PostgreSQL and to RabbitMQ, for the processes that are started with `env`."""

    def __init__(self, bus: LiveBus) -> None:
        self.urls = {variable: urlsplit(bus.env[variable]) for variable in ADDRESSES if bus.env[variable]}
        self.network = Network()

    @property
    def env(self) -> dict[str, str]:
        return {name: self._through(name) for name in self.urls}

    def _through(self, name: str) -> str:
        url = self.urls[name]
        port = self.network.link(ADDRESSES[name], str(url.hostname), url.port or 0)
        login = url.netloc.rpartition("@")[0]
        return url._replace(netloc=f"{login}@127.0.0.1:{port}").geturl()

    def swallow(self, name: str) -> None:
        self.network.swallow(name)

    def restore(self, name: str) -> None:
        self.network.keep(name)


@pytest.fixture
def ways(live_bus: LiveBus) -> Iterator[Ways]:
    live_bus.only()
    ours = Ways(live_bus)
    ours.network.open()
    try:
        yield ours
        live_bus.only()
    finally:
        ours.network.close()


def probe(bus: LiveBus) -> UUID:
    with transaction.atomic():
        (event_id,) = publish(ProbeSent(probe_id=uuid4()))
    return event_id


def wait_until_stuck(bus: LiveBus) -> None:
    """Until each process waits for what was swallowed: none has given a sign of life for a while."""
    lately = "SELECT count(*) FROM heartbeat WHERE kind = ANY(%s) AND beat_at > clock_timestamp() - interval '8 s'"
    bus.wait_for(lambda: bus.query(lately, KINDS) == [(0,)], "their silence")


def readiness(bus: LiveBus) -> int:
    answer = httpx.get(f"http://127.0.0.1:{bus.web_port}/health/ready", trust_env=False, timeout=15)
    return answer.status_code


def test_what_was_swallowed_on_the_way_to_postgresql_is_asked_again_after_it(live_bus: LiveBus, ways: Ways) -> None:
    live_bus.start(*PROCESSES, **ways.env)
    first = probe(live_bus)
    live_bus.drain()
    ways.swallow("DATABASE_URL")
    second = probe(live_bus)
    assert readiness(live_bus) == 503
    wait_until_stuck(live_bus)
    ways.restore("DATABASE_URL")
    live_bus.wait_for(lambda: live_bus.effects("probe.count", second) == 1, "the second")
    live_bus.wait_for(lambda: readiness(live_bus) == 200, "the web")
    live_bus.drain()
    assert live_bus.effects("probe.audit", first, second) == 2
    assert all(live_bus[name].is_alive for name in PROCESSES)


def test_what_was_swallowed_on_the_way_to_rabbitmq_is_sent_again_after_it(live_bus: LiveBus, ways: Ways) -> None:
    live_bus.start(*PROCESSES, **ways.env)
    first = probe(live_bus)
    live_bus.drain()
    ways.swallow("BROKER_URL")
    second = probe(live_bus)
    live_bus.wait_for(lambda: "relay.interrupted" in live_bus["relay"].says(), "the relay to give up")
    live_bus.wait_for(lambda: "Connection to broker lost" in live_bus["worker probe"].says(), "the worker, too")
    ways.restore("BROKER_URL")
    live_bus.wait_for(lambda: live_bus.effects("probe.count", second) == 1, "the second")
    live_bus.drain()
    assert live_bus.effects("probe.audit", first, second) == 2
    assert all(live_bus[name].is_alive for name in PROCESSES)


@pytest.mark.parametrize("server", ["DATABASE_URL", "BROKER_URL"])
def test_who_waits_for_what_was_swallowed_obeys_sigterm(live_bus: LiveBus, ways: Ways, server: str) -> None:
    live_bus.start(*PROCESSES, **ways.env)
    probe(live_bus)
    live_bus.drain()
    ways.swallow(server)
    probe(live_bus)
    if server == "DATABASE_URL":
        wait_until_stuck(live_bus)
    for name in PROCESSES:
        live_bus[name].signal(signal.SIGTERM)
    for name in PROCESSES:
        live_bus[name].wait(20)


def test_a_worker_whose_deliveries_were_swallowed_gets_them_again(live_bus: LiveBus, ways: Ways) -> None:
    live_bus.start("relay")
    live_bus.start("worker probe", **ways.env)
    ways.swallow("BROKER_URL")
    event_id = probe(live_bus)
    live_bus.wait_for(lambda: live_bus.query("SELECT count(*) FROM outbox") == [(0,)], "the relay")
    live_bus.wait_for(lambda: "Connection to broker lost" in live_bus["worker probe"].says(), "the loss")
    ways.restore("BROKER_URL")
    live_bus.wait_for(lambda: live_bus.effects("probe.count", event_id) == 1, "the delivery")


def test_a_frozen_relay_keeps_its_idle_lock_for_half_a_minute_at_most(live_bus: LiveBus) -> None:
    live_bus.only("relay", "worker probe")
    held = (
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database() "
        f"AND locktype = 'advisory' AND objid = {AdvisoryLock.IDLE_RELAY} AND granted"
    )
    live_bus.wait_for(lambda: live_bus.query(held) == [(1,)], "the relay to be idle")
    live_bus["relay"].signal(signal.SIGSTOP)
    live_bus.wait_for(lambda: live_bus.query(held) == [(0,)], "the lock")
    event_id = probe(live_bus)
    live_bus["relay"].signal(signal.SIGCONT)
    live_bus.wait_for(lambda: live_bus.effects("probe.count", event_id) == 1, "the relay to go on")
