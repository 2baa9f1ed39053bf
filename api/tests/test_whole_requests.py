"""Requests as they come over ASGI, and what the application sees of them."""

import asyncio
import gc
from collections.abc import Iterable, Iterator
from threading import Barrier, Lock, Thread
from typing import Any
from weakref import ref

import pytest
from django.core.exceptions import RequestDataTooBig
from django.http import UnreadablePostError
from django.test import RequestFactory

from api import whole_requests
from api.problems import Problem
from api.tests.callers import problem
from api.whole_requests import UNREAD, UnreadMiddleware, WholeRequests

LIMIT = 1_000_000


class Echo:
    """A WSGI application that keeps what it was asked."""

    def __init__(self) -> None:
        self.environ: dict[str, Any] = {}
        self.body = b""
        self.is_closed = False

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.environ, self.body = environ, environ["wsgi.input"].read()
        start_response("201 Created", [("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield b"in "
        yield b"parts"

    def close(self) -> None:
        self.is_closed = True


class Client:
    """Sends these parts of a body, and then hangs up or says nothing more."""

    def __init__(self, *parts: bytes, ends: bool = True, hangs_up: bool = False) -> None:
        self.parts, self.ends, self.hangs_up = list(parts), ends, hangs_up
        self.answer: list[Any] = []

    async def receive(self) -> Any:
        if self.parts:
            part = self.parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self.parts) or not self.ends}
        if self.hangs_up:
            return {"type": "http.disconnect"}
        return await asyncio.Event().wait()

    async def send(self, message: Any) -> None:
        self.answer.append(message)

    def asks(self, application: Any, *headers: tuple[str, str], **scope: Any) -> None:
        usual = {
            "type": "http",
            "method": "POST",
            "scheme": "http",
            "http_version": "1.1",
            "root_path": "",
            "raw_path": b"/orders",
            "query_string": b"",
            "server": ("shop", 80),
            "client": ("10.0.0.7", 5000),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        }
        asyncio.run(application(usual | scope, self.receive, self.send))


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def application(echo: Echo) -> WholeRequests:
    return WholeRequests(echo, threads=1)


def length(size: int) -> tuple[str, str]:
    return "content-length", str(size)


CHUNKED = ("transfer-encoding", "chunked")


def test_an_answer_leaves_as_a_whole(application: WholeRequests, echo: Echo) -> None:
    client = Client()
    client.asks(application)
    start, body = client.answer
    assert start["status"] == 201
    assert start["headers"] == [(b"content-type", b"text/plain"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    assert (body["body"], body["more_body"]) == (b"in parts", False)
    assert echo.is_closed


@pytest.mark.parametrize("ends", [True, False])
def test_a_body_is_whole_when_as_much_is_there_as_it_said(application: WholeRequests, echo: Echo, ends: bool) -> None:
    Client(b'{"a', b'": 1}', ends=ends).asks(application, length(8))
    assert (echo.body, echo.environ["CONTENT_LENGTH"]) == (b'{"a": 1}', "8")


def test_a_chunked_body_is_whole_at_its_end(application: WholeRequests, echo: Echo) -> None:
    Client(b'{"a', b'": 1}', b"").asks(application, CHUNKED)
    assert (echo.body, echo.environ["HTTP_TRANSFER_ENCODING"]) == (b'{"a": 1}', "chunked")


def test_a_request_without_a_body_is_whole_at_once(application: WholeRequests, echo: Echo) -> None:
    for headers in ([], [length(0)]):
        Client(ends=False).asks(application, *headers)
        assert echo.body == b""


@pytest.mark.parametrize("headers", [length(8), CHUNKED])
def test_a_body_that_stalls_is_waited_for_no_longer_than_its_time(
    application: WholeRequests, echo: Echo, headers: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_requests, "BODY_SECONDS", 0.05)
    Client(b"{", ends=False).asks(application, headers)
    assert echo.environ[UNREAD].status_code == 408
    assert echo.body == b""


def test_a_body_that_says_it_is_too_large_is_not_read(application: WholeRequests, echo: Echo) -> None:
    client = Client(b"x")
    client.asks(application, length(LIMIT + 1))
    assert isinstance(echo.environ[UNREAD], RequestDataTooBig)
    assert client.parts == [b"x"]


def test_a_chunked_body_is_read_no_further_than_to_the_limit(application: WholeRequests, echo: Echo) -> None:
    client = Client(b"x" * LIMIT, b"x", b"x")
    client.asks(application, CHUNKED)
    assert isinstance(echo.environ[UNREAD], RequestDataTooBig)
    assert client.parts == [b"x"]


def test_who_hangs_up_has_sent_nothing(application: WholeRequests, echo: Echo) -> None:
    Client(b"{", ends=False, hangs_up=True).asks(application, length(8))
    assert isinstance(echo.environ[UNREAD], UnreadablePostError)
    assert echo.body == b""


@pytest.mark.parametrize(
    ("parts", "headers", "hangs_up"),
    [([b"{"], length(8), False), ([b"{"], length(8), True), ([b"x" * LIMIT, b"x", b"x"], CHUNKED, False)],
    ids=["stalls", "hangs up", "too large"],
)
def test_whose_body_was_not_read_is_let_go_of_without_the_garbage_collector(
    application: WholeRequests,
    parts: list[bytes],
    headers: tuple[str, str],
    hangs_up: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(whole_requests, "BODY_SECONDS", 0.05)
    # It runs only where something goes on; a server that idles would keep the connection.
    gc.disable()
    try:
        client = Client(*parts, ends=False, hangs_up=hangs_up)
        client.asks(application, headers)
        held = ref(client)
        del client
        assert held() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("reason", "status"), [(Problem(408, "Late."), 408), (RequestDataTooBig(), 413), (UnreadablePostError(), 400)]
)
def test_the_reason_is_the_answer(rf: RequestFactory, reason: Exception, status: int) -> None:
    request = rf.get("/")
    request.META[UNREAD] = reason
    answer = UnreadMiddleware(lambda request: pytest.fail("the view was asked"))(request)
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")


@pytest.mark.django_db
def test_a_stalled_body_gets_a_problem_wherever_it_was_sent(client: Any) -> None:
    for path in ("/api/v1/orders", "/admin/login/"):
        problem(client.post(path, **{UNREAD: Problem(408, "Late.")}), 408)


def test_headers_are_named_as_wsgi_names_them(application: WholeRequests, echo: Echo) -> None:
    Client().asks(
        application,
        *(("content-type", "text/plain"), ("x-name", "ü"), ("accept", "a"), ("accept", "b")),
        *(("cookie", "a=1"), ("cookie", "b=2")),
    )
    assert echo.environ["CONTENT_TYPE"] == "text/plain"
    assert (echo.environ["HTTP_X_NAME"], echo.environ["HTTP_ACCEPT"]) == ("ü", "a,b")
    assert echo.environ["HTTP_COOKIE"] == "a=1;b=2"


def test_an_underscore_does_not_pass_for_a_hyphen(application: WholeRequests, echo: Echo) -> None:
    Client().asks(application, ("x_forwarded_proto", "https"))
    assert "HTTP_X_FORWARDED_PROTO" not in echo.environ


def test_path_and_query_are_the_bytes_that_were_sent(application: WholeRequests, echo: Echo) -> None:
    Client().asks(application, raw_path=b"/a%20b/%ff\xc3\xbc", query_string=b"q=%ff\xff")
    assert (echo.environ["PATH_INFO"], echo.environ["QUERY_STRING"]) == ("/a b/\xff\xc3\xbc", "q=%ff\xff")


def test_as_many_requests_are_worked_on_at_once_as_there_are_threads() -> None:
    in_pairs, lock, at_work, seen = Barrier(2), Lock(), set[str](), list[int]()

    def work(environ: Any, start_response: Any) -> list[bytes]:
        with lock:
            at_work.add(environ["PATH_INFO"])
            seen.append(len(at_work))
        in_pairs.wait(10)
        with lock:
            at_work.remove(environ["PATH_INFO"])
        start_response("200 OK", [])
        return []

    application = WholeRequests(work, threads=2)
    clients = [Client() for _ in range(6)]
    asking = [
        Thread(target=client.asks, args=[application], kwargs={"raw_path": b"/%d" % number})
        for number, client in enumerate(clients)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(30)
    assert [client.answer[0]["status"] for client in clients] == [200] * 6
    assert max(seen) == 2


def test_a_thread_goes_on_whatever_a_request_raised() -> None:
    class Anything(BaseException):
        pass

    def work(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/raise":
            raise Anything
        start_response("200 OK", [])
        return []

    application, client = WholeRequests(work, threads=1), Client()
    with pytest.raises(Anything):
        Client().asks(application, raw_path=b"/raise")
    client.asks(application)
    assert client.answer[0]["status"] == 200
