"""The verbs of notifications."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

import structlog
from django.db import connection, transaction

from eventbus import Event, PermanentFailure, database_time, failpoint, publish, publish_with
from eventbus.archive import begun_before_restore
from notifications import rendering, smtp
from notifications.events import NotificationQueued, NotificationSent
from notifications.models import Mail, State
from notifications.queries import STUCK
from notifications.rendering import MESSAGE_ID

log = structlog.get_logger(__name__)

#: First key of the advisory locks of mails that are being sent; the second is made of the mail's id.
SENDING_LOCK = 0x4D41494C
#: Surely not with the mail server.
NOT_TAKEN = (State.QUEUED, State.FAILED)

FORGOTTEN = "It may have been sent before the database was restored to a moment."
QUEUE = f"""
INSERT INTO notifications_mail (id, order_id, kind, "to", subject, text, html, message_id, state, error)
SELECT id, order_id, kind, "to", subject, text, html, message_id,
       CASE WHEN is_old THEN '{State.UNKNOWN}' ELSE '{State.QUEUED}' END,
       CASE WHEN is_old THEN '{FORGOTTEN}' ELSE '' END
FROM (
    SELECT *, {begun_before_restore("told.correlation_id")} AS is_old
    FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
                %s::text[]) AS told(id, order_id, kind, "to", subject, text, html, message_id, correlation_id)
) AS told
ON CONFLICT (order_id, kind) DO NOTHING
RETURNING id
"""
NOTE_SENT = "sent AS (UPDATE notifications_mail SET state = 'SENT', sent_at = %s, error = '' WHERE id = %s)"


class BeingSent(Exception):
    """Another process has this mail in hand: look again later."""


def queue_mails(rendered: Sequence[tuple[Mail, Event]]) -> None:
    """Store mails to be sent, in one statement, and announce each, caused by the event that it answers.

    One that its order already has is left out. One of a story from before the database was restored is in doubt: it
    may have gone out.
    """
    if not rendered:
        return
    with transaction.atomic(savepoint=False):
        rows = [
            (mail.pk, mail.order_id, mail.kind, mail.to, mail.subject, mail.text, mail.html, mail.message_id, story)
            for mail, event in rendered
            for story in [event.envelope.metadata.correlation_id]
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


def hold_mails() -> None:
    """Leave in doubt what was on its way when the database was restored."""
    waiting = Mail.objects.filter(state__in=[State.QUEUED, State.SENDING])
    held = waiting.update(state=State.UNKNOWN, error=FORGOTTEN)
    log.warning("mails.held", mails=held)


def taken_by_server(logs: Iterable[Path]) -> set[str]:
    """The ids of our mails that stand in these texts. Raises OSError."""
    taken: set[str] = set()
    for log_file in logs:
        with log_file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                taken.update(MESSAGE_ID.findall(line))
    return taken


def settle_mails(taken: Collection[str], *, since: datetime, dry_run: bool = False) -> tuple[int, int]:
    """Settle the mails that are in doubt and were queued since then: those that the mail server has taken are sent, all
    others are queued again. Returns how many of each."""
    doubtful = Mail.objects.filter(state=State.UNKNOWN, created_at__gte=since)
    arrived = list(doubtful.filter(message_id__in=taken))
    others = list(doubtful.exclude(message_id__in=taken).values_list("pk", flat=True))
    if dry_run:
        return len(arrived), len(others)
    return sum(map(_note_arrived, arrived)), sum(map(resend_mail, others))


def _note_arrived(mail: Mail) -> bool:
    with transaction.atomic():
        doubtful = Mail.objects.filter(pk=mail.pk, state=State.UNKNOWN)
        if not doubtful.update(state=State.SENT, sent_at=database_time(), error=""):
            return False
        publish(NotificationSent(mail_id=mail.pk, order_id=mail.order_id, kind=mail.kind))
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
        sent = NotificationSent(mail_id=mail.pk, order_id=mail.order_id, kind=mail.kind)
        publish_with(NOTE_SENT, [database_time(), mail.pk], sent)


def _note_not_taken(mail: Mail, error: smtp.NotTaken) -> None:
    state = State.FAILED if isinstance(error, smtp.NeverTaken) else State.QUEUED
    Mail.objects.filter(pk=mail.pk, state__in=[*NOT_TAKEN, State.SENDING]).update(state=state, error=str(error))


def _leave_in_doubt(mail: Mail) -> None:
    why = "The sender died or lost the connection between the end of the content and the server's answer."
    Mail.objects.filter(pk=mail.pk, state=State.SENDING).update(state=State.UNKNOWN, error=why)
    log.error("mail.in_doubt", mail_id=str(mail.pk), order_id=str(mail.order_id), kind=mail.kind, why=why)
