"""What customers got by mail: from a mail server of our own, or from the folder of the private one."""

import mailbox
from collections import Counter
from collections.abc import Iterable
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.policy import default
from threading import Lock

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from script._lib.local import MAILBOX

#: What each kind of mail has in its subject.
SUBJECTS = {
    "confirmation": "is confirmed",
    "apology": "We are sorry",
    "tracking": "is on its way",
    "cancellation": "is cancelled",
}


def by_customer(mails: Iterable[Message]) -> Counter[tuple[str, str]]:
    """How often each customer got each kind of mail: by address and kind."""
    found: Counter[tuple[str, str]] = Counter()
    for mail in mails:
        found.update((str(mail["To"]), kind) for kind, words in SUBJECTS.items() if words in str(mail["Subject"]))
    return found


def kept_mails() -> list[Message]:
    """What the private mail server has taken."""
    return list(mailbox.Maildir(MAILBOX, create=False))


def forget_mails() -> None:
    """Empty the private mail server's folder."""
    mailbox.Maildir(MAILBOX, create=True).clear()


class MailSink:
    """Takes every mail and keeps it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._lock = Lock()
        self._mails: list[EmailMessage] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=port, ready_timeout=15)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        mail = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(mail, EmailMessage)
        with self._lock:
            self._mails.append(mail)
        return "250 taken"

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    def mails(self) -> list[EmailMessage]:
        with self._lock:
            return list(self._mails)

    def sent_to(self, address: str) -> list[EmailMessage]:
        return [mail for mail in self.mails() if address in str(mail["To"])]
