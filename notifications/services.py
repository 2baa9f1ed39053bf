"""The verbs of notifications."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import structlog
from django.db import connection, transaction

from eventbus import Event, PermanentFailure, database_time, failpoint, publish
from notifications import rendering, smtp
from notifications.events import NotificationQueued, NotificationSent
from notifications.models import Mail, State

log = structlog.get_logger(__name__)

#: First key of the advisory locks of mails that are being sent; the second is made of the mail's id.
SENDING_LOCK = 0x4D41494C
#: Surely not with the mail server.
NOT_TAKEN = (State.QUEUED, State.FAILED)
#: What staff may send again: refused for good, or in doubt.
STUCK = (State.UNKNOWN, State.FAILED)

QUEUE = """
INSERT INTO notifications_mail (id, order_id, kind, "to", subject, text, html, message_id)
SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
ON CONFLICT (order_id, kind) DO NOTHING
RETURNING id
"""


class BeingSent(Exception):
    """Another process has this mail in hand: look again later."""


def queue_mails(rendered: Sequence[tuple[Mail, Event]]) -> None:
    """Store mails to be sent, in one statement, and announce each, caused by the event that it answers.

    One that its order already has is left out.
    """
    if not rendered:
        return
    with transaction.atomic(savepoint=False):
        rows = [
            (mail.pk, mail.order_id, mail.kind, mail.to, mail.subject, mail.text, mail.html, mail.message_id)
            for mail, _ in rendered
        ]
        with connection.cursor() as cursor:
            cursor.execute(QUEUE, [list(column) for column in zip(*rows, strict=True)])
            new = {mail_id for (mail_id,) in cursor.fetchall()}
        for mail, event in rendered:
            if mail.pk in new:
                publish(NotificationQueued(mail_id=mail.pk, order_id=mail.order_id, kind=mail.kind), caused_by=event)


def deliver_mail(mail_id: UUID) -> None:
    """Send a queued mail: at most once, however often this is called and wherever it dies.

    The mail is claimed when the server has all of it but the final dot, and the claim commits before the dot goes.
    Whoever dies before the claim leaves the mail QUEUED, and it is sent again. Whoever dies, or loses the connection,
    after it leaves it SENDING: the dot may have arrived or not, and SMTP offers no way to ask. That window, from the
    commit of the claim to the commit of what the server answered, is the one in which nobody can know. Such a mail
    becomes UNKNOWN and stays so until a person decides: it is not sent again by itself.

    Raises NotTaken where another attempt may help (as NotNow about this mail alone), PermanentFailure where none will,
    BeingSent while another process is at it.
    """
    with _alone_with(mail_id):
        mail = Mail.objects.get(pk=mail_id)
        if mail.state == State.SENDING:
            _leave_in_doubt(mail)
        elif mail.state in NOT_TAKEN:
            try:
                _hand_over(mail)
            except smtp.NotTaken as error:
                _note_not_taken(mail, error)
                if isinstance(error, smtp.NeverTaken):
                    raise PermanentFailure(str(error)) from error
                raise


def resend_mail(mail_id: UUID) -> bool:
    """Queue a mail again that is in doubt or was refused; returns whether it was one. The customer may get it twice."""
    with transaction.atomic():
        if not Mail.objects.filter(pk=mail_id, state__in=STUCK).update(state=State.QUEUED):
            return False
        mail = Mail.objects.get(pk=mail_id)
        publish(NotificationQueued(mail_id=mail.id, order_id=mail.order_id, kind=mail.kind))
    return True


@contextmanager
def _alone_with(mail_id: UUID) -> Iterator[None]:
    """Hold the mail's lock, which ends with the process: so a sender that died can be told from one that is busy."""
    key = (SENDING_LOCK, str(mail_id))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s::int, hashtext(%s))", key)
        if cursor.fetchone() != (True,):
            raise BeingSent(f"Mail {mail_id} is being sent by another process.")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s::int, hashtext(%s))", key)


def _hand_over(mail: Mail) -> None:
    with smtp.handed_over(rendering.as_message(mail)) as handover:
        failpoint("mail.before_send")
        if not Mail.objects.filter(pk=mail.pk, state__in=NOT_TAKEN).update(state=State.SENDING):
            raise BeingSent(f"Mail {mail.pk} was claimed by another process.")
        handover.end()
        failpoint("mail.after_send")
        with transaction.atomic():
            Mail.objects.filter(pk=mail.pk).update(state=State.SENT, sent_at=database_time(), error="")
            publish(NotificationSent(mail_id=mail.pk, order_id=mail.order_id, kind=mail.kind))


def _note_not_taken(mail: Mail, error: smtp.NotTaken) -> None:
    state = State.FAILED if isinstance(error, smtp.NeverTaken) else State.QUEUED
    Mail.objects.filter(pk=mail.pk, state__in=[*NOT_TAKEN, State.SENDING]).update(state=state, error=str(error))


def _leave_in_doubt(mail: Mail) -> None:
    why = "The sender died or lost the connection between the end of the content and the server's answer."
    Mail.objects.filter(pk=mail.pk, state=State.SENDING).update(state=State.UNKNOWN, error=why)
    log.error("mail.in_doubt", mail_id=str(mail.pk), order_id=str(mail.order_id), kind=mail.kind, why=why)
