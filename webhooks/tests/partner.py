"""A partner's server: a real one, that keeps what it was sent and answers as the test tells it."""

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """`drip`: what is sent instead, bytes as they are, by a function that gets something to write with."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"thanks"
    drip: Callable[[Any], None] | None = None


class Partner:
    """Listens on 127.0.0.1, with TLS where it gets a certificate. `answer` is asked for each request."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.received: list[Received] = []
        self.answer: Callable[[Received], Answer] = lambda request: Answer()
        #: What hangs goes on when this is set.
        self.may_go_on = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                request = Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                outer.received.append(request)
                answer = outer.answer(request)
                try:
                    self._send(answer)
                except OSError:
                    pass  # whoever called has hung up

            do_GET = do_POST

            def _send(self, answer: Answer) -> None:
                if answer.drip is not None:
                    answer.drip(self.wfile)
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            # Many come at once, and none is to try twice.
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.may_go_on.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def ids(self) -> list[str]:
        """The ids of the messages that came, in that order."""
        return [each.headers["webhook-id"] for each in self.received]

    def hangs(self, request: Received) -> Answer:
        """An answer that never comes."""
        self.may_go_on.wait()
        return Answer()
