"""What is sent: a thin body, and headers that sign it as Standard Webhooks 1.0 says."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from standardwebhooks import Webhook as Signer

from eventbus import encode_json
from webhooks.catalogue import address_of

#: The event of a test, which is no event.
PING = "webhook.ping"


@dataclass(frozen=True, slots=True)
class Told:
    """What a message says of an event. It says no more at any attempt, so that its body stays the same."""

    event_id: UUID
    event_type: str
    version: str
    aggregate_type: str
    aggregate_id: str
    occurred_at: datetime

    def body(self) -> bytes:
        """The body. Nothing of a customer is in it: who wants to know more asks at `path`, with a token."""
        about = {"eventId": self.event_id, "version": self.version}
        if self.event_type != PING:
            about |= {
                "aggregateType": self.aggregate_type,
                "aggregateId": self.aggregate_id,
                "path": address_of(self.aggregate_type, self.aggregate_id),
            }
        return encode_json({"type": self.event_type, "timestamp": self.occurred_at, "data": about})


def signed(message_id: str, body: bytes, *, at: datetime, secrets: Sequence[str]) -> dict[str, str]:
    """The headers of a message, with a signature by each secret. Its id is the event's, at every attempt."""
    # The header has whole seconds, and so has what is signed.
    moment = at.replace(microsecond=0)
    signatures = [Signer(each).sign(message_id, moment, body.decode()) for each in secrets]
    return {
        "content-type": "application/json",
        "user-agent": settings.EVENTBUS_USER_AGENT,
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
