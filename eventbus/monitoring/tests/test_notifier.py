import itertools
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.core import mail

from eventbus.ids import new_id
from eventbus.monitoring import notifier
from eventbus.monitoring.models import AlarmNotice

pytestmark = pytest.mark.django_db


class Receiver(HTTPServer):
    """A webhook's far end, over a real socket, that can be told what to answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = 204
        self.got: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/alarms"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.answer < 300:
            self.server.got.append(body | {"key": self.headers["Idempotency-Key"]})
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def receiver(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    settings.EVENTBUS_ALARM_WEBHOOK_URL = server.url
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def note(channel: str = "webhook", state: str = "firing", name: str = "queue_depth") -> AlarmNotice:
    return AlarmNotice.objects.create(
        id=new_id(), name=name, subject="inventory.reserve_stock", state=state, value=1_234,
        changed_at=datetime(2026, 3, 1, 12, tzinfo=UTC), channel=channel,
    )  # fmt: skip


def test_a_change_is_posted_once(receiver: Receiver) -> None:
    notice = note()
    assert notifier.deliver() == 1
    assert notifier.deliver() == 0
    (got,) = receiver.got
    assert got["id"] == got["key"] == str(notice.id)
    told = {name: got[name] for name in ("alarm", "subject", "state", "value", "threshold", "changedAt")}
    assert told == {
        "alarm": "queue_depth", "subject": "inventory.reserve_stock", "state": "firing", "value": 1_234,
        "threshold": 1_000, "changedAt": "2026-03-01T12:00:00+00:00",
    }  # fmt: skip
    assert got["advice"]


def test_a_receiver_that_refuses_is_asked_again_next_time(receiver: Receiver) -> None:
    notice = note()
    receiver.answer = 500
    assert notifier.deliver() == 0
    notice.refresh_from_db()
    assert (notice.attempts, notice.delivered_at) == (1, None)
    assert "500" in notice.error
    receiver.answer = 200
    assert notifier.deliver() == 1
    assert len(receiver.got) == 1
    notice.refresh_from_db()
    assert (notice.attempts, notice.error) == (2, "")
    assert notice.delivered_at is not None


def test_a_receiver_that_is_down_costs_one_attempt_however_much_waits(receiver: Receiver) -> None:
    receiver.answer = 503
    for _ in range(3):
        note()
    notifier.deliver()
    assert sorted(AlarmNotice.objects.values_list("attempts", flat=True)) == [0, 0, 1]


def test_a_receiver_that_says_nothing_is_given_up_in_time(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "SOCKET_TIMEOUT", 0.2)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.EVENTBUS_ALARM_WEBHOOK_URL = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        notice = note()
        assert notifier.deliver() == 0
    notice.refresh_from_db()
    assert "timed out" in notice.error


class Dripping(socketserver.ThreadingTCPServer):
    """A server that sends one byte of its answer every tenth of a second, for as long as anybody listens."""

    daemon_threads = True

    def __init__(self, answer: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Drip)
        self.answer = answer
        self.port = int(self.server_address[1])
        self.is_ending = threading.Event()


class Drip(socketserver.BaseRequestHandler):
    server: Dripping

    def handle(self) -> None:
        try:
            for byte in itertools.chain(self.server.answer, itertools.repeat(ord("x"))):
                self.request.sendall(bytes([byte]))
                if self.server.is_ending.wait(0.1):
                    return
        except OSError:
            pass


@pytest.fixture
def dripping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dripping]:
    monkeypatch.setattr(notifier, "CALL_DEADLINE", 0.5)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Dripping(request.param) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.is_ending.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("dripping", [b"HTTP/1.1 200 OK\r\nX-Slow: "], indirect=True)
def test_a_receiver_that_answers_byte_by_byte_is_cut_off(dripping: Dripping, settings: Any) -> None:
    settings.EVENTBUS_ALARM_WEBHOOK_URL = f"http://127.0.0.1:{dripping.port}/"
    notice = note()
    assert notifier.deliver() == 0
    notice.refresh_from_db()
    assert "not done within 0.5 seconds" in notice.error


@pytest.mark.parametrize("dripping", [b"220-welcome"], indirect=True)
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_mail_server_that_answers_byte_by_byte_is_cut_off(dripping: Dripping, settings: Any, encrypted: bool) -> None:
    settings.EVENTBUS_ALARM_EMAIL = ["ops@shop.example"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_SSL = "127.0.0.1", dripping.port, encrypted
    notice = note("mail")
    assert notifier.deliver() == 0
    notice.refresh_from_db()
    assert notice.error


def test_changes_arrive_in_their_order(receiver: Receiver) -> None:
    note(state="firing")
    note(state="ok")
    notifier.deliver()
    assert [got["state"] for got in receiver.got] == ["firing", "ok"]


def test_mail_says_what_it_is_and_what_to_do(settings: Any) -> None:
    settings.EVENTBUS_ALARM_EMAIL = ["ops@shop.example", "night@shop.example"]
    notice = note("mail")
    assert notifier.deliver() == 1
    (sent,) = mail.outbox
    assert sent.to == ["ops@shop.example", "night@shop.example"]
    assert sent.subject == "[firing] queue_depth inventory.reserve_stock"
    assert "WORKER_PROCESSES" in sent.body
    assert str(notice.id) in sent.message()["Message-ID"]
    notifier.deliver()
    assert len(mail.outbox) == 1


def test_a_mail_server_that_is_down_does_not_keep_the_webhook_waiting(receiver: Receiver, settings: Any) -> None:
    settings.EVENTBUS_ALARM_EMAIL = ["ops@shop.example"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    note("mail")
    note("webhook")
    assert notifier.deliver() == 1
    assert len(receiver.got) == 1
    assert AlarmNotice.objects.get(channel="mail").error
