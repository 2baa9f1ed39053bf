"""Clients stall, hundreds of them, and nobody else notices."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from uuid import uuid4

import httpx
import pytest

from script._lib.process import Process
from tests.support.bus import LiveBus
from tests.support.effects import PIPELINE
from tests.support.stock import receive
from tools.harness.shop import Shop

pytestmark = [pytest.mark.live, pytest.mark.faults]

#: Clients of each kind.
STALLED = 200
#: Seconds that nobody has to wait.
PATIENCE = 5.0
#: Connections and threads that good requests may have of their own.
OF_OTHERS = 12


@dataclass(frozen=True)
class Stall:
    """What a client sends at once, and what it sends every second after that."""

    begin: bytes
    drip: bytes = b""
    #: It reads one byte of the answer every second.
    reads_slowly: bool = False


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode() + body


LOGIN = ("POST /admin/login/", "Content-Type: application/x-www-form-urlencoded")
LENGTH, CHUNKED = "Content-Length: 1000", "Transfer-Encoding: chunked"
HEADS = (
    Stall(b""),
    Stall(b"GET / HTTP/1.1\r\nHost: local"),
    Stall(b"GET / HTTP/1.1\r\nX-Long: ", drip=b"x"),
)
BODIES = (
    Stall(request(*LOGIN, LENGTH, body=b"x")),
    Stall(request(*LOGIN, LENGTH, body=b"x"), drip=b"x"),
    Stall(request(*LOGIN, CHUNKED), drip=b"1\r\nx\r\n"),
    Stall(request(*LOGIN, LENGTH, "Expect: 100-continue")),
)
# Together more than any buffer on the way takes.
SLOW_READING = Stall(request("GET /static/admin/js/vendor/jquery/jquery.js") * 40, reads_slowly=True)


@pytest.fixture
def web(live_bus: LiveBus, shop: Shop) -> Iterator[Process]:
    """The web process, in work."""
    live_bus.ensure("web", "relay")
    # What waits since another test would keep new orders out.
    live_bus.wait_for(lambda: live_bus.query("SELECT count(*) FROM outbox") == [(0,)], "the outbox to be empty")
    shop.http.timeout = PATIENCE
    answers_others(shop)
    yield live_bus["web"]
    # The next test's processes are others, and would not do what these orders need.
    live_bus.ensure(*PIPELINE)
    live_bus.drain()


def test_stalled_heads_delay_nobody_and_are_hung_up_on(web: Process, shop: Shop) -> None:
    with stalled(web, *HEADS) as clients:
        answers_others(shop)
        assert {everything_from(client) for client in clients} == {b""}


def test_stalled_bodies_delay_nobody_and_end_in_408(live_bus: LiveBus, web: Process, shop: Shop) -> None:
    before = holds(web)
    with stalled(web, *BODIES) as clients:
        answers_others(shop)
        for client in clients:
            refused(everything_from(client))
        live_bus.wait_for(lambda: holds(web) <= before + OF_OTHERS, "web to let go of them")
        answers_others(shop)


def test_an_order_that_stalls_holds_neither_thread_nor_key(web: Process, shop: Shop) -> None:
    wish, key = shop.order(receive(5)), uuid4().hex
    authorization = f"Authorization: Bearer {shop.token}"
    begun = request(
        *("POST /api/v1/orders", "Content-Type: application/json", LENGTH),
        *(authorization, f"Idempotency-Key: {key}"),
        body=b"{",
    )
    with stalled(web, Stall(begun)) as clients:
        answer = shop.post(wish, key=key)
        assert (answer.status_code, answer.headers.get("Idempotent-Replayed")) == (201, None)
        answers_others(shop)
        for client in clients:
            refused(everything_from(client))


def test_who_reads_slowly_delays_nobody(live_bus: LiveBus, web: Process, shop: Shop) -> None:
    before = holds(web)
    with stalled(web, SLOW_READING):
        answers_others(shop)
    live_bus.wait_for(lambda: holds(web) <= before + OF_OTHERS, "web to let go of them")


def test_who_reads_slowly_does_not_hold_up_a_stop(web: Process, shop: Shop) -> None:
    with stalled(web, SLOW_READING):
        assert web.stop(40) == 0


@contextmanager
def stalled(web: Process, *stalls: Stall) -> Iterator[list[socket.socket]]:
    """Clients that have begun, and go on as slowly as they do until the block ends."""
    address, ended = ("127.0.0.1", int(web.env_at_start["PORT"])), Event()
    with ExitStack() as stack:
        clients = [(stack.enter_context(socket.socket()), stall) for stall in stalls for _ in range(STALLED)]
        for client, stall in clients:
            if stall.reads_slowly:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(120)
            client.connect(address)
            client.sendall(stall.begin)

        def go_on() -> None:
            while not ended.wait(1):
                for client, stall in clients:
                    trickle(client, stall)

        trickling = Thread(target=go_on, daemon=True)
        trickling.start()
        try:
            yield [client for client, _ in clients]
        finally:
            ended.set()
            trickling.join()


def trickle(client: socket.socket, stall: Stall) -> None:
    try:
        client.send(stall.drip, socket.MSG_DONTWAIT)
        if stall.reads_slowly:
            client.recv(1, socket.MSG_DONTWAIT)
    except OSError:
        pass  # hung up on, or nothing is there yet


def answers_others(shop: Shop) -> None:
    """Everybody else is answered as ever."""
    product = receive(100)
    health = f"{shop.http.base_url.copy_with(path='/health/live')}"
    for _ in range(10):
        assert httpx.get(health, timeout=PATIENCE, trust_env=False).status_code == 200
        answer = shop.post(shop.order(product), key=uuid4().hex)
        assert answer.status_code == 201, answer.text


def everything_from(client: socket.socket) -> bytes:
    """What it was sent until the server hung up."""
    received = b""
    try:
        while part := client.recv(65_536):
            received += part
    except ConnectionResetError:
        pass  # it sent on after that
    except TimeoutError:
        pytest.fail(f"{client.getsockname()} was not hung up on; it was sent {received!r}")
    return received


def refused(received: bytes) -> None:
    """What was sent is a problem with status 408."""
    head, _, body = received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 "), received
    assert b"content-type: application/problem+json" in head
    assert b'"status":408' in body


def holds(web: Process) -> int:
    """Open files and threads of the web workers."""
    parts = [f"/proc/{pid}/{what}" for pid in web.children() for what in ("fd", "task")]
    return sum(len(os.listdir(part)) for part in parts)
