"""A message as the broker delivered it, read with tolerance: anybody may have written its headers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from eventbus.db.cleaning import clean

MAX_ERROR_CHARS = 500


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as the broker delivered it to a consumer's queue."""

    body: bytes | str
    headers: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)

    @property
    def attempt(self) -> int:
        """1 for the first delivery. Anyone can write the header, so nonsense in it counts as the first."""
        value = self.headers.get("x-attempt", 1)
        return value if isinstance(value, int) and 0 < value < 1_000_000 else 1

    @property
    def message_id(self) -> UUID | None:
        """The event's id as the message's properties give it: known without reading the body."""
        try:
            return UUID(self.properties.get("message_id"))
        except (TypeError, ValueError, AttributeError):
            return None

    @property
    def redeliveries(self) -> int:
        """How often the broker has delivered it before, without an acknowledgement. RabbitMQ counts it."""
        value = self.headers.get("x-delivery-count", 0)
        return value if isinstance(value, int) else 0

    def first_failed_at(self, now: datetime) -> datetime:
        """When its first attempt failed, in UTC: now, where none did or the header is not a time that has been."""
        return min(read_moment(self.headers.get("x-first-failed-at")) or now, now)

    @property
    def failed_before(self) -> datetime | None:
        """When its first attempt failed, in UTC; None where none did, or the header is not a time."""
        return read_moment(self.headers.get("x-first-failed-at")) if self.attempt > 1 else None

    @property
    def last_error(self) -> str | None:
        """What the attempt before this one ended with, as far as the headers say."""
        before = self.attempts if self.attempt > 1 else []
        return clean(str(before[-1].get("error", "")))[:MAX_ERROR_CHARS] or None if before else None

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """The attempts that failed before this one: number, when, error."""
        return parse_attempts(self.headers.get("x-attempts"))

    @property
    def may_retry(self) -> bool:
        """Whether a failure may come again. The first of a replay may not: they show at once whether the fix works."""
        return "x-single-try" not in self.headers


def read_moment(value: Any) -> datetime | None:
    """A header's moment in UTC, which it is taken for where it does not say; None where it is not one. Never raises:
    anyone can write the header, and Python's calendar ends where some time zones have not."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def parse_attempts(value: Any) -> list[dict[str, Any]]:
    """The header's list of attempts; empty where it is not one. Anyone can write the header."""
    try:
        found = json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return []
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


PASSED_ON: Sequence[str] = (
    "content_type",
    "content_encoding",
    "message_id",
    "type",
    "timestamp",
    "app_id",
    "correlation_id",
)
