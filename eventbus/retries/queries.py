"""Reads of the retries that wait, for commands, pages and alarms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from eventbus.db.sql import fetch
from eventbus.declaration import CONSUMERS
from eventbus.retries.models import WaitingRetry

BY_CONSUMER = """
SELECT consumer, count(*), extract(epoch FROM min(due_at) - clock_timestamp())::float8,
       count(*) FILTER (WHERE refusals > 0)
FROM waiting_retry GROUP BY consumer ORDER BY consumer
"""


@dataclass(frozen=True, slots=True)
class RetryStatus:
    """How many retries of a consumer wait, in how many seconds the next one is due (below zero: overdue), and how many
    of them its queue has refused."""

    waiting: int
    next_seconds: float
    refused: int


def by_consumer() -> dict[str, RetryStatus]:
    """How the retries of each consumer stand that has any, declared or not. Raises DatabaseError."""
    return {consumer: RetryStatus(*found) for consumer, *found in fetch(BY_CONSUMER)}


def waiting_retries(*, ids: Sequence[int] = (), consumer: str = "") -> "QuerySet[WaitingRetry]":
    """Those for which both filters hold, what is due first coming first."""
    found = WaitingRetry.objects.defer("body", "headers", "properties").order_by("due_at", "pk")
    if ids:
        found = found.filter(pk__in=ids)
    return found.filter(consumer=consumer) if consumer else found


def retry_as_json(retry: WaitingRetry) -> dict[str, Any]:
    """A retry for machines."""
    return {
        "id": retry.pk,
        "consumer": retry.consumer,
        "gone": retry.consumer not in CONSUMERS,
        "eventId": str(retry.event_id) if retry.event_id else None,
        "eventType": retry.event_type,
        "aggregateType": retry.aggregate_type,
        "aggregateId": retry.aggregate_id,
        "attempt": retry.attempt,
        "dueAt": retry.due_at.isoformat(),
        "firstFailedAt": retry.first_failed_at.isoformat(),
        "lastError": retry.last_error,
        "refusals": retry.refusals,
    }
