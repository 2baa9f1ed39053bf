"""A request reaches a thread only when it is whole, and its answer leaves the thread whole.

A thread keeps a database connection, so there are few. Whoever sends or reads slowly, or not at all, holds a socket and
some memory, and never a thread.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from io import BytesIO
from math import inf
from queue import SimpleQueue
from sys import stderr
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, UnreadablePostError

from api.problems import Problem, problem_response

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

#: Seconds that a body may take in all, however steadily it drips.
BODY_SECONDS = 10.0
#: The name in a request's environ for why its body was not read.
UNREAD = "api.unread"

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


class WholeRequests:
    """An ASGI application that has a WSGI one answer in so many threads."""

    def __init__(self, application: "WSGIApplication", *, threads: int) -> None:
        self.application = application
        # Not an executor: the hand-over through its futures and locks costs a thirtieth of what an order costs in all.
        self.whole: SimpleQueue[tuple[WSGIEnvironment, asyncio.Future[Answer]]] = SimpleQueue()
        for number in range(threads):
            # Who asked is waited for by the server: when it ends, nobody is at work any more.
            Thread(target=self.work, name=f"request-{number}", daemon=True).start()

    async def __call__(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        environ = to_environ(scope)
        try:
            environ["wsgi.input"] = BytesIO(await body_of(environ, receive))
        except (Problem, RequestDataTooBig, UnreadablePostError) as reason:
            # Its traceback holds what is received, and the server hangs up only when nothing does: in a process that
            # idles no garbage collector would undo this circle for a long while.
            reason.__context__ = None
            environ[UNREAD] = reason.with_traceback(None)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.whole.put((environ, answered))
        status, headers, body = await answered
        await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def work(self) -> None:
        """What each thread does: one request after the other."""
        while True:
            self.hand_over(*self.whole.get())

    def hand_over(self, environ: "WSGIEnvironment", answered: "asyncio.Future[Answer]") -> None:
        """Tell the event loop the answer, or what was raised instead."""
        try:
            settle = partial(answered.set_result, self.answer(environ))
        except BaseException as error:  # noqa: BLE001 the loop raises it, and this thread goes on
            settle = partial(answered.set_exception, error)
        answered.get_loop().call_soon_threadsafe(settle)

    def answer(self, environ: "WSGIEnvironment") -> Answer:
        """The application's answer, all of it."""
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
            started[:] = status, headers

        chunks: Any = self.application(environ, start_response)
        try:
            body = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        status, headers = started
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return int(status.partition(" ")[0]), encoded, body


async def body_of(environ: "WSGIEnvironment", receive: ASGIReceiveCallable) -> bytes:
    """The whole body. Where it raises RequestDataTooBig, UnreadablePostError or Problem, the rest is not read."""
    # A chunked body says only at its end how long it is.
    length = inf if "HTTP_TRANSFER_ENCODING" in environ else int(environ["CONTENT_LENGTH"] or 0)
    if settings.DATA_UPLOAD_MAX_MEMORY_SIZE < length < inf:
        raise RequestDataTooBig
    if not length:
        return b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await read(receive, length)
    except TimeoutError:
        raise Problem(408, f"The body was not there within {BODY_SECONDS:g} seconds.") from None


async def read(receive: ASGIReceiveCallable, length: float) -> bytes:
    """So many bytes of the body, or what there is of it."""
    body, more = bytearray(), True
    while more and len(body) < length:
        message = await receive()
        if message["type"] != "http.request":
            raise UnreadablePostError
        body += message["body"]
        more = message["more_body"]
        if len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise RequestDataTooBig
    return bytes(body)


def to_environ(scope: HTTPScope) -> "WSGIEnvironment":
    """A request as WSGI (PEP 3333) describes it, with no body yet."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        # As proxies do: otherwise anybody's `x_forwarded_proto` passes for the proxy's `x-forwarded-proto`.
        if b"_" in raw_name:
            continue
        name, value = f"HTTP_{raw_name.decode('latin-1').upper().replace('-', '_')}", raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}{';' if name == 'HTTP_COOKIE' else ','}{value}" if name in headers else value
    server, client = scope["server"] or ("localhost", 80), scope["client"] or ("", 0)
    return {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope["root_path"],
        # Django reads these two as the bytes that were sent.
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "CONTENT_TYPE": headers.pop("HTTP_CONTENT_TYPE", ""),
        "CONTENT_LENGTH": headers.pop("HTTP_CONTENT_LENGTH", ""),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": BytesIO(),
        "wsgi.errors": stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **headers,
    }


class UnreadMiddleware:
    """Answers requests whose body was not read, with the reason."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        reason = request.META.get(UNREAD)
        return self.get_response(request) if reason is None else problem_response(reason, {})
