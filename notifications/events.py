"""What notifications announces. Thin events: who needs the mail itself looks it up by its id."""

from uuid import UUID

from eventbus import Event


class NotificationQueued(Event, type="notification.queued", version="1.0", aggregate="mail_id", aggregate_type="mail"):
    """A mail is written and waits to be sent."""

    mail_id: UUID
    order_id: UUID
    kind: str


class NotificationSent(Event, type="notification.sent", version="1.0", aggregate="mail_id", aggregate_type="mail"):
    """The mail server took the mail over."""

    mail_id: UUID
    order_id: UUID
    kind: str
