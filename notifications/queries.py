"""Reads of notifications."""

from django.db import connection

from eventbus import invariant
from notifications.models import Kind

#: Which event each kind of mail answers.
ANSWERED = {"order.confirmed": Kind.CONFIRMATION, "order.rejected": Kind.APOLOGY, "order.shipped": Kind.TRACKING}

MISSING = """
SELECT event.type, event.aggregate_id
FROM event
JOIN unnest(%s::text[], %s::text[]) AS answered(type, kind) USING (type)
LEFT JOIN notifications_mail AS mail ON mail.order_id = (event.data->>'orderId')::uuid AND mail.kind = answered.kind
WHERE mail.id IS NULL
ORDER BY event.id LIMIT 1000
"""
UNASKED = """
SELECT mail.kind, mail.order_id
FROM notifications_mail AS mail
JOIN unnest(%s::text[], %s::text[]) AS answered(type, kind) USING (kind)
LEFT JOIN event ON event.type = answered.type AND event.aggregate_id = mail.order_id::text
LEFT JOIN stream_cut AS cut ON cut.aggregate_type = 'order' AND cut.aggregate_id = mail.order_id::text
WHERE event.id IS NULL AND cut.sequence IS NULL
ORDER BY mail.id LIMIT 1000
"""
# A person may send a mail again, and queues it anew for that: so many times it may have been sent, and no more.
SENT_TOO_OFTEN = """
SELECT aggregate_id, count(*) FILTER (WHERE type = 'notification.sent'),
       count(*) FILTER (WHERE type = 'notification.queued')
FROM event LEFT JOIN stream_cut AS cut USING (aggregate_type, aggregate_id)
WHERE type IN ('notification.queued', 'notification.sent') AND cut.sequence IS NULL
GROUP BY aggregate_id
HAVING count(*) FILTER (WHERE type = 'notification.sent') > count(*) FILTER (WHERE type = 'notification.queued')
LIMIT 1000
"""
# Waits or is being sent, and nothing that could send it is on its way or a dead letter.
STRANDED = """
SELECT mail.state, mail.kind, mail.order_id
FROM notifications_mail AS mail
WHERE mail.state IN ('QUEUED', 'SENDING') AND NOT EXISTS (
    SELECT FROM event
    LEFT JOIN processed_event AS done ON done.event_id = event.id AND done.consumer = 'notifications.deliver_mail'
    WHERE event.aggregate_id = mail.id::text AND event.type = 'notification.queued'
      AND done.outcome IS DISTINCT FROM 'done')
ORDER BY mail.id LIMIT 1000
"""


@invariant(
    "I4",
    "every confirmed, rejected or shipped order has its one mail about it, sent once at most, and none is forgotten",
)
def doubled_or_missing_mails() -> list[str]:
    """Where orders and mails don't match, in words. Mails in doubt are no violation: nobody can know about them."""
    answered: list[list[str]] = [list(ANSWERED), list(ANSWERED.values())]
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
