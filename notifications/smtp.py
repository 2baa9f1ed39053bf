"""Handing a mail to a mail server in two steps, so that a claim can be committed in between.

Up to the dot that ends the content a server must deliver nothing (RFC 5321, 4.1.1.4); with its 2xx answer to the dot it
has the mail. Only between the dot and that answer nobody can know.
"""

import re
import select
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parseaddr
from time import monotonic

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend

#: Whoever takes longer up to the dot gets none: its answer has to come within the consumer's time limit as well.
HANDSHAKE_SECONDS = 5
#: The mail is safe by then; only courtesy waits.
GOODBYE_SECONDS = 1


class NotTaken(Exception):
    """The server has not taken the mail: sending it again cannot make two of it. `permanent`: nor would it help."""

    def __init__(self, why: str, *, permanent: bool = False) -> None:
        super().__init__(why)
        self.permanent = permanent


class Handover:
    """A mail on its way over a connection of its own: first all but the dot, then the dot."""

    def __init__(self) -> None:
        self.backend = EmailBackend()
        self.answered = False

    @property
    def server(self) -> smtplib.SMTP:
        server = self.backend.connection
        if server is None:
            raise smtplib.SMTPServerDisconnected("There is no connection to the mail server.")
        return server

    def begin(self, recipient: str, content: bytes) -> None:
        """Connect and send all but the dot. Raises NotTaken, and whatever a connection raises."""
        deadline = monotonic() + HANDSHAKE_SECONDS
        self.backend.open()
        if self.server.sock is not None:
            # Or the kernel holds the dot back until the server has acknowledged the content: 40 ms.
            self.server.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.ehlo_or_helo_if_needed()
        options = ["BODY=8BITMIME"] if self.server.has_extn("8bitmime") else []
        code, text = self.server.mail(_address(settings.DEFAULT_FROM_EMAIL), options)
        if code != 250:
            # Of us and not of this mail, even where it says for ever: not logged in, no leave to send as this sender.
            raise NotTaken(f"The server refused the sender: {_answer(code, text)}")
        code, text = self.server.rcpt(recipient)
        if code not in (250, 251):
            raise _refusal("the recipient", code, text)
        code, text = self.server.docmd("DATA")
        if code != 354:
            raise _refusal("to read the content", code, text)
        self.server.send(content)
        if monotonic() > deadline:
            raise NotTaken(f"The server was too slow: it took longer than {HANDSHAKE_SECONDS} s.")

    def end(self) -> None:
        """Send the dot and read the answer: when this returns, the server has the mail.

        Raises NotTaken if it has not. After any other exception nobody knows.
        """
        if self._hung_up():
            raise NotTaken("The server hung up before the end of the content.")
        try:
            self.server.send(b".\r\n")
        except smtplib.SMTPServerDisconnected as error:
            # Three bytes leave whole or not at all.
            raise NotTaken("The connection broke before the end of the content.") from error
        code, text = self.server.getreply()
        self.answered = True
        if 400 <= code < 600:
            raise _refusal("the content", code, text)
        if not 200 <= code < 300:
            raise smtplib.SMTPDataError(code, text)

    def close(self) -> None:
        """Take leave if the mail was answered. Else cut the connection: in the content even QUIT would be content."""
        if self.backend.connection is None:
            return
        if self.answered and self.server.sock is not None:
            self.server.sock.settimeout(GOODBYE_SECONDS)
            self.backend.close()
        else:
            self.server.close()

    def _hung_up(self) -> bool:
        """Whether the server closed the connection, or complained, where it has only to listen. TLS can't be asked:
        there bytes may be waiting that mean nothing."""
        if self.server.sock is None:
            return True
        waiting, _, _ = select.select([self.server.sock], [], [], 0)
        return bool(waiting) and not isinstance(self.server.sock, ssl.SSLSocket)


@contextmanager
def handed_over(mail: EmailMessage) -> Iterator[Handover]:
    """Give the server everything but the dot. Leaving the block before `end()` makes it forget the mail.

    Raises NotTaken if that fails.
    """
    try:
        recipient, content = _address(mail.to[0]), _as_data(bytes(mail.message()))
    except ValueError as error:
        # The mail itself is to blame, such as for a line break in its address.
        raise NotTaken(f"{type(error).__name__}: {error}", permanent=True) from error
    handover = Handover()
    try:
        try:
            handover.begin(recipient, content)
        except (OSError, ValueError) as error:
            raise NotTaken(f"{type(error).__name__}: {error}") from error
        yield handover
    finally:
        handover.close()


def _address(text: str) -> str:
    """The bare address. Raises ValueError where there is none, or more than that."""
    _, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    if not (local and at and domain) or re.search(r"[\s<>]", address) or not local.isascii():
        raise ValueError("That is not an e-mail address.")
    return f"{local}@{domain.encode('idna').decode()}"


def _as_data(content: bytes) -> bytes:
    """As it goes over the wire: every kind of line end becomes CR LF, a leading dot is doubled (RFC 5321, 4.5.2)."""
    content = re.sub(rb"(?m)^\.", b"..", re.sub(rb"\r\n|\r|\n", b"\r\n", content))
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def _refusal(what: str, code: int, text: bytes) -> NotTaken:
    return NotTaken(f"The server refused {what}: {_answer(code, text)}", permanent=500 <= code < 600)


def _answer(code: int, text: bytes) -> str:
    return f"{code} {text.decode(errors='replace')}"
