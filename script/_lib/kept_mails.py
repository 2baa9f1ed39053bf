"""What the private mail server does with a mail."""

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP, Envelope, Session


class KeptMails(Mailbox):
    """Keeps each in a folder (Maildir) as it came. The base class reads it first, and writes what it has understood:
    that costs more than all the rest."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert envelope.original_content is not None
        self.mailbox.add(envelope.original_content)
        return "250 OK"
