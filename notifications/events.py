"""What notifications announces. Thin events: who needs the mail itself looks it up by its id."""

from typing import Annotated

from pydantic import Field

from eventbus import Event, Line, Named

Kind = Annotated[Line, Field(max_length=64)]


class NotificationQueued(Event, type="notification.queued", version="1.0", aggregate="mail_id", aggregate_type="mail"):
    """A mail is written and waits to be sent."""

    mail_id: Named
    order_id: Named
    kind: Kind


class NotificationSent(Event, type="notification.sent", version="1.0", aggregate="mail_id", aggregate_type="mail"):
    """The mail server took the mail over."""

    mail_id: Named
    order_id: Named
    kind: Kind
