"""Reads of notifications, as plain data."""

from typing import Any
from uuid import UUID

from notifications.models import Mail, State

#: What only a person can go on with: refused for good, or in doubt.
STUCK = (State.UNKNOWN, State.FAILED)


def mails_of(order_id: UUID) -> list[dict[str, Any]]:
    """The mails of an order, oldest first, and what became of each."""
    return [
        {
            "mailId": mail.pk,
            "kind": mail.kind,
            "to": mail.to,
            "subject": mail.subject,
            "text": mail.text,
            "state": mail.state,
            "stateInWords": mail.get_state_display(),
            "isStuck": mail.state in STUCK,
            "error": mail.error,
            "createdAt": mail.created_at,
            "sentAt": mail.sent_at,
        }
        for mail in Mail.objects.defer("html").filter(order_id=order_id).order_by("pk")
    ]


def count_stuck(*, limit: int) -> int:
    """How many mails wait for a person, counted no further than the limit."""
    return Mail.objects.filter(state__in=STUCK).order_by().values("pk")[:limit].count()
