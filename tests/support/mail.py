"""A mail server inside the tests."""

from collections import Counter
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from threading import Lock

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


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

    def by_message_id(self) -> Counter[str]:
        """How often each mail arrived."""
        return Counter(str(mail["Message-ID"]) for mail in self.mails())
