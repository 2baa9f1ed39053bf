"""Whether each order has its mails, and no more."""

from collections.abc import Collection

from django.db import connection

from eventbus import Event, evidence, invariant
from eventbus.archive import archived, cut_streams, done_by
from notifications.consumers import deliver_mail
from notifications.events import NotificationQueued, NotificationSent
from notifications.models import Kind, Mail
from notifications.rendering import MESSAGE_ID
from orders.events import OrderCancelled, OrderConfirmed, OrderRejected, OrderShipped

#: Which event each kind of mail answers.
ANSWERED: dict[type[Event], Kind] = {
    OrderConfirmed: Kind.CONFIRMATION,
    OrderRejected: Kind.APOLOGY,
    OrderShipped: Kind.TRACKING,
    OrderCancelled: Kind.CANCELLATION,
}

MISSING = f"""
SELECT told.type, told.aggregate_id
FROM {archived(*ANSWERED)} AS told
JOIN unnest(%s::text[], %s::text[]) AS answered(type, kind) USING (type)
LEFT JOIN notifications_mail AS mail ON mail.order_id = (told.data->>'orderId')::uuid AND mail.kind = answered.kind
WHERE mail.id IS NULL
ORDER BY told.id LIMIT 1000
"""
UNASKED = f"""
SELECT mail.kind, mail.order_id
FROM notifications_mail AS mail
JOIN unnest(%s::text[], %s::text[]) AS answered(type, kind) USING (kind)
LEFT JOIN {archived(*ANSWERED)} AS told ON told.type = answered.type AND told.aggregate_id = mail.order_id::text
LEFT JOIN {cut_streams(OrderConfirmed)} AS cut ON cut.aggregate_id = mail.order_id::text
WHERE told.id IS NULL AND cut.sequence IS NULL
ORDER BY mail.id LIMIT 1000
"""
# A person may send a mail again, and queues it anew for that: it may have been sent that often, and no more.
_SENT = f"count(*) FILTER (WHERE type = '{NotificationSent.type}')"
_QUEUED = f"count(*) FILTER (WHERE type = '{NotificationQueued.type}')"
SENT_TOO_OFTEN = f"""
SELECT aggregate_id, {_SENT}, {_QUEUED}
FROM {archived(NotificationQueued, NotificationSent)} AS told
LEFT JOIN {cut_streams(NotificationQueued)} AS cut USING (aggregate_id)
WHERE cut.sequence IS NULL
GROUP BY aggregate_id HAVING {_SENT} > {_QUEUED} LIMIT 1000
"""
# Waits or is being sent, and nothing that could send it is on its way or a dead letter.
STRANDED = f"""
SELECT mail.state, mail.kind, mail.order_id
FROM notifications_mail AS mail
WHERE mail.state IN ('QUEUED', 'SENDING') AND NOT EXISTS (
    SELECT FROM {archived(NotificationQueued)} AS queued
    LEFT JOIN {done_by(deliver_mail)} AS done ON done.event_id = queued.id
    WHERE queued.aggregate_id = mail.id::text AND done.event_id IS NULL)
ORDER BY mail.id LIMIT 1000
"""


@invariant(
    "I4",
    "every confirmed, rejected, shipped or cancelled order has its one mail about it, sent once at most, not forgotten",
)
def doubled_or_missing_mails() -> list[str]:
    """Where orders and mails don't match, in words. Mails in doubt are not violations: nobody can know about them."""
    answered: list[list[str]] = [[contract.type for contract in ANSWERED], list(ANSWERED.values())]
    with connection.cursor() as cursor:
        cursor.execute(MISSING, answered)
        found = [f"{kind} of order {order_id} has no mail" for kind, order_id in cursor.fetchall()]
        cursor.execute(UNASKED, answered)
        found += [f"{kind} for order {order_id} answers no event" for kind, order_id in cursor.fetchall()]
        cursor.execute(SENT_TOO_OFTEN)
        found += [f"mail {mail_id} was sent {sent} times, queued {queued} times" for mail_id, sent, queued in cursor]
        cursor.execute(STRANDED)
        found += [f"{kind} for order {order_id} is {state} for ever" for state, kind, order_id in cursor.fetchall()]
    return found


@evidence("mails that were sent", MESSAGE_ID)
def forgotten_mails(message_ids: Collection[str]) -> Collection[str]:
    """Mails that the mail server's log has, and we don't."""
    return set(message_ids) - set(Mail.objects.filter(message_id__in=message_ids).values_list("message_id", flat=True))
