"""A delivery that failed becomes a row, before it is acknowledged."""

import json
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from django.utils.crypto import salted_hmac

from eventbus.broker.message import SHORT
from eventbus.broker.publisher import Outgoing
from eventbus.contracts.event import Envelope
from eventbus.db.cleaning import clean, clean_json
from eventbus.db.crypto import encrypt
from eventbus.db.sql import fetch

#: A retry comes up to this part of its delay later: what failed together does not come back together.
SPREAD = 0.2
MAX_ERROR_CHARS = 500

# Whoever dies between this and the acknowledgement gets the delivery again. The row that is further on is kept.
WRITE = f"""
INSERT INTO waiting_retry AS known (delivery_key, consumer, event_id, event_type, aggregate_type, aggregate_id,
    attempt, due_at, first_failed_at, last_error, body, headers, properties)
VALUES (%s, %s, %s, %s, %s, %s, %s,
    clock_timestamp() + make_interval(secs => %s::float8) * (1 + {SPREAD} * random()), %s, %s, %s, %s, %s)
ON CONFLICT (delivery_key) DO UPDATE SET attempt = EXCLUDED.attempt, due_at = EXCLUDED.due_at, refusals = 0,
    last_error = EXCLUDED.last_error, headers = EXCLUDED.headers
WHERE EXCLUDED.attempt >= known.attempt
"""


def write(
    message: Outgoing,
    *,
    after: float,
    attempt: int,
    first_failed_at: datetime,
    error: str,
    event_id: UUID | None,
    envelope: Envelope | None,
) -> None:
    """Have this message sent to its queue after so many seconds, by the database's clock.

    `envelope` is what could be read of it. Raises DatabaseError or InterfaceError.
    """
    body = message.body.encode() if isinstance(message.body, str) else message.body
    properties = dict(message.properties)
    headers = _storable(properties.pop("application_headers"))
    about = (envelope.event_type, envelope.aggregate_type, envelope.aggregate_id) if envelope else ("", "", "")
    fetch(
        WRITE,
        [
            _delivery_key(message.routing_key, body, headers),
            message.routing_key,
            event_id,
            *about,
            attempt,
            after,
            first_failed_at,
            clean(error)[:MAX_ERROR_CHARS],
            encrypt(body),
            json.dumps(headers),
            json.dumps(clean_json(properties)),
        ],
    )


def _storable(headers: dict[str, Any]) -> dict[str, Any]:
    cleaned: dict[str, Any] = clean_json(headers)
    return {name: value for name, value in cleaned.items() if len(name.encode()) <= SHORT}


def _delivery_key(consumer: str, body: bytes, headers: dict[str, Any]) -> UUID:
    """The same however often a delivery comes. By the body, as anybody may have written the id in the properties."""
    body_hash = salted_hmac("eventbus.retries", body, algorithm="sha256").hexdigest()
    parts = [consumer, body_hash, str(headers.get("x-replay-id", "")), str(headers.get("x-letter-id", ""))]
    return uuid5(NAMESPACE_URL, " ".join(parts))
