"""Handing a mail to a mail server in two steps, so that a claim can be committed in between.

Up to the dot that ends the content a server must deliver nothing (RFC 5321, 4.1.1.4); with its 2xx answer to the dot it
has the mail. Only between the dot and that answer nobody can know.
"""

import re
import select
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parseaddr
from time import monotonic

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
    """A mail that the server has in full but for the dot."""

    def __init__(self, server: smtplib.SMTP) -> None:
        self.server = server
        self.answered = False

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

    def _hung_up(self) -> bool:
        """Whether the server closed the connection, or complained, where it has only to listen. TLS can't be asked:
        there bytes may be waiting that mean nothing."""
        waiting, _, _ = select.select([self.server.sock], [], [], 0)
        return bool(waiting) and not isinstance(self.server.sock, ssl.SSLSocket)


@contextmanager
def handed_over(mail: EmailMessage) -> Iterator[Handover]:
    """Connect and send everything but the dot. Leaving the block before `end()` makes the server forget the mail.

    Raises NotTaken if that fails.
    """
    backend = EmailBackend()
    try:
        server = _begin(backend, mail)
    except (OSError, ValueError) as error:
        _drop(backend)
        # What the mail itself is to blame for, such as a line break in its address, is found before anything is sent.
        raise NotTaken(f"{type(error).__name__}: {error}", permanent=isinstance(error, ValueError)) from error
    except BaseException:
        _drop(backend)
        raise
    handover = Handover(server)
    try:
        yield handover
    finally:
        if handover.answered:
            server.sock.settimeout(GOODBYE_SECONDS)
            backend.close()
        else:
            _drop(backend)


def _begin(backend: EmailBackend, mail: EmailMessage) -> smtplib.SMTP:
    content = _as_data(mail.message().as_bytes(linesep="\r\n"))
    sender, recipient = _address(mail.from_email), _address(mail.to[0])
    deadline = monotonic() + HANDSHAKE_SECONDS
    backend.open()
    server: smtplib.SMTP = backend.connection
    server.ehlo_or_helo_if_needed()
    code, text = server.mail(sender)
    if code != 250:
        # Of us and not of this mail, even where it says for ever: not logged in, no leave to send as this sender.
        raise NotTaken(f"The server refused the sender: {_answer(code, text)}")
    code, text = server.rcpt(recipient)
    if code not in (250, 251):
        raise _refusal("the recipient", code, text)
    code, text = server.docmd("DATA")
    if code != 354:
        raise _refusal("to read the content", code, text)
    server.send(content)
    if monotonic() > deadline:
        raise NotTaken(f"The server was too slow: it took longer than {HANDSHAKE_SECONDS} s.")
    return server


def _drop(backend: EmailBackend) -> None:
    """Cut the connection without a word: in the middle of the content even QUIT would be content."""
    if backend.connection is not None:
        backend.connection.close()


def _address(text: str) -> str:
    """The bare address. Raises ValueError where there is none, or more than that."""
    _, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    if not (local and at and domain) or re.search(r"[\s<>]", address):
        raise ValueError("That is no e-mail address.")
    return f"{local}@{domain.encode('idna').decode()}"


def _as_data(content: bytes) -> bytes:
    """The content as it goes over the wire: a leading dot is doubled, and it ends with a line end (RFC 5321, 4.5.2)."""
    content = re.sub(rb"(?m)^\.", b"..", content)
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def _refusal(what: str, code: int, text: bytes) -> NotTaken:
    return NotTaken(f"The server refused {what}: {_answer(code, text)}", permanent=500 <= code < 600)


def _answer(code: int, text: bytes) -> str:
    return f"{code} {text.decode(errors='replace')}"
