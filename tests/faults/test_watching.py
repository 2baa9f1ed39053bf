"""Whatever is stopped, frozen or killed, something else says so."""

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import pytest
from django.db import connection, transaction

from eventbus import publish
from script._lib.waiting import wait_until
from tests.support.bus import LiveBus
from tests.testapp.events import ProbeSent
from tools.harness.mail import MailSink
from tools.harness.servers import BROKER, POSTGRES, Servers

pytestmark = [pytest.mark.live, pytest.mark.faults]
WATCHERS = ("relay hasty", "dead letters hasty")


class Receiver(ThreadingHTTPServer):
    """Where alarms are posted to. A dripping one answers with a byte every half second, and never to the end."""

    daemon_threads = True

    def __init__(self, *, is_dripping: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.is_dripping = is_dripping
        self.got: list[tuple[str, str]] = []
        self.cut = threading.Event()
        self.closing = threading.Event()

    @property
    def settings(self) -> dict[str, str]:
        """What makes a process post to it."""
        return {"ALARM_WEBHOOK_URL": f"http://127.0.0.1:{self.server_port}/", "no_proxy": "127.0.0.1"}


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        notice = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((notice["alarm"], notice["state"]))
        self.wfile.write(b"HTTP/1.1 204 No Content\r\n")
        try:
            while self.server.is_dripping and not self.server.closing.wait(0.5):
                self.wfile.write(b"x")
            self.wfile.write(b"\r\n")
        except OSError:
            self.server.cut.set()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    with Receiver(is_dripping=getattr(request, "param", "") == "dripping") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def bus(live_bus: LiveBus) -> Iterator[LiveBus]:
    """The running bus; what is frozen or missing at the end is put right for the next test."""
    live_bus.query("DELETE FROM alarm")
    live_bus.query("DELETE FROM alarm_notice")
    yield live_bus
    live_bus.only()


def firing(bus: LiveBus) -> set[tuple[str, str]]:
    return {(name, subject) for name, subject in bus.query("SELECT name, subject FROM alarm WHERE state = 'firing'")}


def alive(bus: LiveBus) -> set[str]:
    found = bus.query("SELECT kind FROM heartbeat WHERE beat_at > clock_timestamp() - interval '10 seconds'")
    return {kind for (kind,) in found}


def test_every_process_is_missed_within_a_minute(bus: LiveBus) -> None:
    bus.only("relay", "dead letters hasty", "worker probe", "worker eventbus", "beat", "web", "deliver_webhooks")
    frozen = ("relay", "worker probe", "beat", "deliver_webhooks")
    everybody = {"relay", "worker_dead_letters", "worker_probe", "worker_eventbus", "beat", "web", "deliver_webhooks"}
    bus.wait_for(lambda: alive(bus) >= everybody, "all signs of life", 60)
    for name in frozen:
        bus[name].signal(signal.SIGSTOP)
    bus.kill9("worker eventbus", "web")
    missed = {("relay_missing", "")} | {
        ("process_missing", kind) for kind in ("worker_probe", "worker_eventbus", "beat", "web", "deliver_webhooks")
    }
    bus.wait_for(lambda: missed <= firing(bus), "their alarms", 60)
    assert ("process_missing", "worker_dead_letters") not in firing(bus)

    for name in frozen:
        bus[name].signal(signal.SIGCONT)
    bus.start("worker eventbus", "web")
    bus.wait_for(lambda: not missed & firing(bus), "their end", 60)


def test_the_dead_letter_process_is_missed_by_the_relay(bus: LiveBus) -> None:
    bus.only(*WATCHERS)
    bus.wait_for(lambda: alive(bus) >= {"relay", "worker_dead_letters"}, "their signs of life")
    bus["dead letters hasty"].signal(signal.SIGSTOP)
    bus.wait_for(lambda: ("process_missing", "worker_dead_letters") in firing(bus), "the alarm", 60)


@pytest.mark.parametrize("receiver", ["dripping"], indirect=True)
def test_a_broker_that_is_away_is_reported_past_a_receiver_that_hangs(
    bus: LiveBus, servers: Servers, receiver: Receiver, mail_sink: MailSink
) -> None:
    bus.only()
    bus.start(*WATCHERS, ALARM_EMAIL="ops@shop.example", **receiver.settings)
    servers.kill(BROKER)
    with transaction.atomic():
        publish(ProbeSent(probe_id=uuid4()))
    bus.wait_for(lambda: ("broker_away", "") in firing(bus), "the alarm", 60)
    bus.wait_for(lambda: any("broker_away" in mail["Subject"] for mail in mail_sink.mails()), "the mail")
    bus.wait_for(receiver.cut.is_set, "the receiver to be cut off")
    ((age,),) = bus.query("SELECT value FROM alarm WHERE name = 'outbox_age'")
    assert age > 0, "the outbox was not measured while the broker was away"


def test_who_waits_for_the_broker_is_alive(bus: LiveBus, servers: Servers) -> None:
    waiting = {"relay", "worker_dead_letters", "worker_probe", "beat"}
    bus.only("relay", "dead letters", "worker probe", "beat")
    bus.wait_for(lambda: alive(bus) >= waiting, "their signs of life")
    servers.kill(BROKER)
    assert still_alive(bus, waiting)
    servers.restart(BROKER)
    assert still_alive(bus, waiting)


def still_alive(bus: LiveBus, kinds: set[str]) -> bool:
    """Waits until each has given several more signs of life."""
    ((later,),) = bus.query("SELECT clock_timestamp() + interval '12 seconds'")
    beats = "SELECT kind FROM heartbeat WHERE beat_at > %s"
    return bus.wait_for(lambda: kinds <= {kind for (kind,) in bus.query(beats, later)}, "signs of life", 60)


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_a_database_that_is_away_is_reported_once_and_so_is_its_return(
    bus: LiveBus, servers: Servers, receiver: Receiver, how: str
) -> None:
    bus.only()
    bus.start(*WATCHERS, **receiver.settings)
    connection.close()
    (servers.kill if how == "kill" else servers.pause)(POSTGRES)
    wait_until(lambda: ("database_away", "firing") in receiver.got, 60, "the report")
    servers.resume(POSTGRES)
    servers.restart(POSTGRES)
    wait_until(lambda: ("database_away", "ok") in receiver.got, 60, "the report of its return")
    assert [state for alarm, state in receiver.got if alarm == "database_away"] == ["firing", "ok"]
