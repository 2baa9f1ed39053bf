"""A message of a dead-letter queue as a row: whatever is in it, it can be stored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils.crypto import salted_hmac

from eventbus.db.cleaning import clean, clean_json
from eventbus.errors import Reason
from eventbus.worker.delivery import PASSED_ON, parse_attempts, read_moment

#: Why the broker itself dead-lettered a message, in our words (https://www.rabbitmq.com/docs/dlx).
BROKER_REASONS = {
    "delivery_limit": Reason.KILLS_ITS_WORKER,
    "expired": Reason.EXPIRED_IN_QUEUE,
    "maxlen": Reason.QUEUE_FULL,
    "rejected": Reason.REJECTED,
}


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """What the store keeps of a message. `replay_id` and `letter_id` are set where a replay failed again."""

    consumer: str
    body: bytes
    body_hash: bytes
    event_id: UUID | None
    event_type: str
    aggregate_id: str
    correlation_id: str
    reason: str
    error_class: str
    error_message: str
    traceback: str
    code_place: str
    attempts: list[dict[str, Any]]
    first_failed_at: datetime
    failed_at: datetime
    code_version: str
    headers: dict[str, Any]
    properties: dict[str, Any]
    replay_id: UUID | None
    letter_id: int | None


def read_message(
    consumer: str, body: bytes, headers: Mapping[str, Any], properties: Mapping[str, Any], *, now: datetime
) -> DeadMessage:
    """A message of `<consumer>.dead` as it is stored. Never raises: anybody may have written it."""
    named = _named(body)
    reason = headers.get("x-dead-reason") or _broker_reason(consumer, headers)
    failed_at = read_moment(headers.get("x-failed-at")) or now
    text = {name: clean(headers.get(f"x-{name}")) for name in ("error-class", "error-message", "traceback")}
    message = text["error-message"] or _explain(clean(reason))
    # The broker's own letters have no history: what killed their workers left no word.
    unsaid = {"attempt": clean_json(headers.get("x-attempt", 1)), "at": failed_at.isoformat(), "error": message}
    return DeadMessage(
        consumer=consumer,
        body=body,
        body_hash=salted_hmac("eventbus.dead_letters", body, algorithm="sha256").digest(),
        event_id=_uuid(named.get("eventId")) or _uuid(properties.get("message_id")),
        event_type=clean(named.get("eventType") or properties.get("type"))[:200],
        aggregate_id=clean(named.get("aggregateId"))[:200],
        correlation_id=clean(named.get("correlationId") or properties.get("correlation_id"))[:200],
        reason=clean(reason)[:200],
        error_class=text["error-class"][:500] or "unknown",
        error_message=message,
        traceback=text["traceback"],
        code_place=clean(headers.get("x-error-place"))[:500],
        attempts=clean_json(parse_attempts(headers.get("x-attempts"))) or [unsaid],
        first_failed_at=read_moment(headers.get("x-first-failed-at")) or failed_at,
        failed_at=failed_at,
        code_version=clean(headers.get("x-code-version"))[:200] or "unknown",
        headers={clean(name): clean_json(value) for name, value in headers.items() if not _is_kept_apart(name)},
        properties={name: clean_json(properties[name]) for name in PASSED_ON if properties.get(name) is not None},
        replay_id=_uuid(headers.get("x-replay-id")),
        letter_id=number if isinstance(number := headers.get("x-letter-id"), int) and 0 < number < 2**63 else None,
    )


def _is_kept_apart(name: str) -> bool:
    # They have columns of their own; a copy would double the row.
    return name in {"x-traceback", "x-error-message", "x-error-class", "x-attempts", "x-error-place"}


def _named(body: bytes) -> dict[str, Any]:
    """The ids that the body names, as far as it is JSON at all."""
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(raw, dict):
        return {}
    metadata = raw.get("metadata")
    names = {**raw, **(metadata if isinstance(metadata, dict) else {})}
    return {name: value for name, value in names.items() if isinstance(value, str)}


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _broker_reason(consumer: str, headers: Mapping[str, Any]) -> str:
    """Why the broker dead-lettered it: the entry about the consumer's own queue. Other queues leave theirs too."""
    deaths = headers.get("x-death")
    for death in deaths if isinstance(deaths, list) else []:
        if isinstance(death, Mapping) and death.get("queue") == consumer:
            return BROKER_REASONS.get(str(death.get("reason")), Reason.UNKNOWN)
    return Reason.UNKNOWN


def _explain(reason: str) -> str:
    if reason == Reason.KILLS_ITS_WORKER:
        return "Every run of it ended without a word, up to the broker's delivery limit. Look for kills and memory."
    if reason in BROKER_REASONS.values():
        return f"The broker dead-lettered it ({reason}), so there is no traceback."
    return "It says nothing of what failed."
