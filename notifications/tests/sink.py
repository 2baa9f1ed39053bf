"""A mail server for tests, in this process and over a real socket, that can be told to misbehave."""

from asyncio import Server, run_coroutine_threadsafe
from email import message_from_bytes, policy
from email.message import EmailMessage
from threading import Event
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class Sink(Controller):
    """Keeps what it took in `mails`. What it answers at each step, and where it hangs up, is set on it."""

    def __init__(self) -> None:
        super().__init__(self, hostname="127.0.0.1", port=0)
        self.mails: list[EmailMessage] = []
        self.asked = 0
        #: How often it was told to forget what it has.
        self.resets = 0
        self.on_mail = self.on_rcpt = self.on_content = "250 OK"
        #: Hang up instead of reading the content, or instead of answering it.
        self.drops_before_content = self.drops_before_answer = False
        #: What the answer to the content waits for.
        self.may_answer = Event()
        self.may_answer.set()
        #: What its greeting waits for.
        self.may_greet = Event()
        self.may_greet.set()
        #: One for each connection whose client said something.
        self.servers: list[SMTP] = []
        #: Set once the content is there.
        self.has_content = Event()

    def hang_up_on_all(self) -> None:
        """Close what is open, and wait until that is done."""

        async def close() -> None:
            for server in self.servers:
                hang_up(server)

        run_coroutine_threadsafe(close(), self.loop).result(10)

    def factory(self) -> SMTP:
        return Dropping(self, enable_SMTPUTF8=False)

    def _trigger_server(self) -> None:
        """Port 0 is known only now. The base class would connect to the 0 it was given."""
        assert isinstance(self.server, Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]  # aiosmtpd's

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        self.asked += 1
        if self.on_mail.startswith("250"):
            envelope.mail_from = address
        return self.on_mail

    async def handle_RSET(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.resets += 1
        return "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        if self.on_rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.on_rcpt

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.on_content.startswith("250"):
            message = message_from_bytes(envelope.original_content or b"", policy=policy.default)
            assert isinstance(message, EmailMessage)
            self.mails.append(message)
        self.has_content.set()
        await server.loop.run_in_executor(None, self.may_answer.wait, 10)
        if self.drops_before_answer:
            hang_up(server)
        return self.on_content


def hang_up(server: SMTP) -> None:
    assert server.transport is not None
    server.transport.close()


class Dropping(SMTP):
    """aiosmtpd's server, which can also keep a client waiting for its greeting, and hang up when it should read the
    content."""

    async def _handle_client(self) -> None:
        await self.loop.run_in_executor(None, self.event_handler.may_greet.wait, 30)
        await super()._handle_client()

    async def smtp_EHLO(self, hostname: str) -> None:
        self.event_handler.servers.append(self)
        await super().smtp_EHLO(hostname)

    async def smtp_DATA(self, arg: str) -> None:
        if self.event_handler.drops_before_content:
            await self.push("354 Go on")
            hang_up(self)
        else:
            await super().smtp_DATA(arg)
