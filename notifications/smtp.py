"""Handing a mail to a mail server in two steps, so that a claim can be committed in between.

Up to the dot that ends the content a server must deliver nothing (RFC 5321, 4.1.1.4); with its 2xx answer to the dot it
has the mail. Only between the dot and that answer nobody can know.
"""

import re
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parseaddr
from time import monotonic

from django.conf import settings
from django.core.mail import EmailMessage

from eventbus import RetryAfter
from notifications.connections import Connection, NotReady, connections

#: Whoever takes longer up to the dot gets none: its answer has to come within the consumer's time limit as well.
HANDSHAKE_SECONDS = 5
#: So much of it may be spent on waiting for a connection.
PATIENCE_SECONDS = 3
#: After this a mail is offered again that its server does not want now. Who greylists wants to see it a minute later.
AGAIN_SECONDS = 60
#: Said at any step they are about us or the server, not about the mail: it closes, or wants us to log in.
ABOUT_THE_SERVER = (421, 530)


class NotTaken(Exception):
    """The server has not taken the mail, and would take no other: it is away, or refuses us. Sending this mail again
    cannot make two of it."""


class NotNow(NotTaken, RetryAfter):
    """It does not take this one mail now, which says nothing of others: greylisting, a full mailbox, a policy."""

    def __init__(self, why: str) -> None:
        RetryAfter.__init__(self, AGAIN_SECONDS, why)
        self.why = why

    def __str__(self) -> str:
        return self.why


class NeverTaken(NotTaken):
    """It will not take this mail, however often it is sent."""


class Handover:
    """A mail on its way: first all but the dot, then the dot."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.server = connection, connection.server
        #: Whether the server has answered all that it was told, and whether it has the mail.
        self.is_over = self.is_taken = False

    def begin(self, recipient: str, content: bytes, deadline: float) -> None:
        """Send all but the dot. Raises NotTaken, and whatever a connection raises."""
        options = ["BODY=8BITMIME"] if self.server.has_extn("8bitmime") else []
        code, text = self.server.mail(_address(settings.DEFAULT_FROM_EMAIL), options)
        if code != 250:
            self.is_over = True
            # Of us and not of this mail, even where it says for ever: not logged in, no leave to send as this sender.
            raise NotTaken(f"The server refused the sender: {_answer(code, text)}")
        code, text = self.server.rcpt(recipient)
        if code not in (250, 251):
            self.is_over = True
            raise _refusal("the recipient", code, text)
        code, text = self.server.docmd("DATA")
        if code != 354:
            self.is_over = True
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
        self.is_over = True
        if 400 <= code < 600:
            raise _refusal("the content", code, text)
        if not 200 <= code < 300:
            raise smtplib.SMTPDataError(code, text)
        self.is_taken = True

    def close(self) -> None:
        """Keep the connection for the next mail. In the middle of this one cut it: there even QUIT would be content."""
        if self.is_over and self.server.sock is not None:
            connections.give_back(self.connection, is_clear=self.is_taken)
        else:
            self.server.close()

    def _hung_up(self) -> bool:
        """Whether the server closed the connection, or complained, where it has only to listen. TLS can't be asked:
        there bytes may be waiting that mean nothing."""
        if self.server.sock is None:
            return True
        return self.connection.has_news() and not isinstance(self.server.sock, ssl.SSLSocket)


@contextmanager
def handed_over(mail: EmailMessage) -> Iterator[Handover]:
    """Give the server everything but the dot. Leaving the block before `end()` makes it forget the mail.

    Raises NotTaken if that fails.
    """
    try:
        recipient, content = _address(mail.to[0]), _as_data(bytes(mail.message()))
    except ValueError as error:
        # The mail itself is to blame, such as for a line break in its address, and the library's text repeats it.
        raise NeverTaken(f"Its address or text can't go into a mail: {type(error).__name__}.") from None
    try:
        with _handed_over(recipient, content) as handover:
            yield handover
    except NotTaken as refused:
        # Servers like to repeat whom they refuse.
        raise type(refused)(_without_address(str(refused), recipient)) from None


@contextmanager
def _handed_over(recipient: str, content: bytes) -> Iterator[Handover]:
    deadline = monotonic() + HANDSHAKE_SECONDS
    try:
        handover = Handover(connections.take(PATIENCE_SECONDS))
    except (OSError, ValueError, NotReady) as error:
        raise NotTaken(f"{type(error).__name__}: {error}") from error
    try:
        try:
            handover.begin(recipient, content, deadline)
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


def _without_address(text: str, address: str) -> str:
    for part in (address, address.rpartition("@")[0]):
        text = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", "[address]", text, flags=re.IGNORECASE)
    return text


def _as_data(content: bytes) -> bytes:
    """As it goes over the wire: every kind of line end becomes CR LF, a leading dot is doubled (RFC 5321, 4.5.2)."""
    content = re.sub(rb"(?m)^\.", b"..", re.sub(rb"\r\n|\r|\n", b"\r\n", content))
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def _refusal(what: str, code: int, text: bytes) -> NotTaken:
    """What a refusal at the recipient or later means. Only there it may be about this mail alone."""
    why = f"The server refused {what}: {_answer(code, text)}"
    if code in ABOUT_THE_SERVER:
        return NotTaken(why)
    # 5.7.x is a policy (RFC 3463): people change it, and until then no mail is to be lost by it.
    return NotNow(why) if code < 500 or text.startswith(b"5.7.") else NeverTaken(why)


def _answer(code: int, text: bytes) -> str:
    return f"{code} {text.decode(errors='replace')}"
