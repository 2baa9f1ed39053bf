"""What each consumer has made of an event, or has yet to: outbox, inbox, waiting retries and dead letters at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from eventbus.contracts.versions import ROUTING_KEY
from eventbus.db.sql import fetch
from eventbus.dead_letters.models import DeadLetterState
from eventbus.worker.models import Outcome


class TraceState(StrEnum):
    """Where an event is on its way through a consumer."""

    OUTBOX = "outbox"
    UNDER_WAY = "under way"
    RETRYING = "retrying"
    BEHIND = "behind"
    DONE = "done"
    DEAD = "dead"
    DISCARDED = "discarded"


#: What will change by itself.
MOVING = (TraceState.OUTBOX, TraceState.UNDER_WAY, TraceState.RETRYING)
_BY_OUTCOME = {
    Outcome.DONE: TraceState.DONE,
    Outcome.DEAD: TraceState.DEAD,
    Outcome.WAITING: TraceState.BEHIND,
    Outcome.DISCARDED: TraceState.DISCARDED,
}

# Who listens, and who has handled it without listening then: by a backfill or a replay. When a handler's transaction
# ended, only a server with track_commit_timestamp can say: nobody writes it down.
_DELIVERIES = f"""
SELECT e.id, t.consumer, p.outcome, p.attempts, p.processed_at,
       CASE WHEN current_setting('track_commit_timestamp')::bool THEN pg_xact_commit_timestamp(p.xmin) END,
       p.first_failed_at, p.last_error, o.position IS NOT NULL,
       w.id, w.attempt, w.due_at, w.first_failed_at, w.last_error,
       d.id, d.state, d.reason, d.error_class, d.error_message, d.failed_at, d.first_failed_at, d.attempts::text
FROM event e
CROSS JOIN LATERAL (
    SELECT s.consumer FROM subscription s WHERE s.routing_key = {ROUTING_KEY} AND s.since <= e.occurred_at
    UNION SELECT handled.consumer FROM processed_event handled WHERE handled.event_id = e.id
) AS t
LEFT JOIN processed_event p ON p.event_id = e.id AND p.consumer = t.consumer
LEFT JOIN outbox o ON o.event_id = e.id
LEFT JOIN LATERAL (
    SELECT * FROM waiting_retry found WHERE found.event_id = e.id AND found.consumer = t.consumer
    ORDER BY found.id DESC LIMIT 1
) AS w ON true
LEFT JOIN LATERAL (
    SELECT * FROM dead_letter found WHERE found.event_id = e.id AND found.consumer = t.consumer
    ORDER BY found.id DESC LIMIT 1
) AS d ON true
WHERE e.id = ANY(%s) ORDER BY e.id, t.consumer
"""


@dataclass(frozen=True, slots=True)
class TracedDelivery:
    """An event at one consumer.

    `began_at` is when the transaction that handled it began, `ended_at` when it committed, where the server notes that.
    `next_attempt` and `due_at` are those of a retry that waits, `retry` and `letter` the ids of its row and of its
    latest dead letter.
    """

    event_id: UUID
    consumer: str
    state: TraceState
    attempts: int
    began_at: datetime | None
    ended_at: datetime | None
    first_failed_at: datetime | None
    error: str
    retry: int | None
    next_attempt: int | None
    due_at: datetime | None
    letter: int | None
    letter_state: str
    reason: str

    @property
    def is_moving(self) -> bool:
        """Whether something will become of it without a person."""
        return self.state in MOVING

    @property
    def milliseconds(self) -> float | None:
        """How long its transaction took, that of all events that shared it. None: nobody knows."""
        if self.began_at is None or self.ended_at is None:
            return None
        return max(0.0, (self.ended_at - self.began_at).total_seconds() * 1000)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "consumer": self.consumer,
            "state": self.state.value,
            "attempts": self.attempts,
            "beganAt": _moment(self.began_at),
            "endedAt": _moment(self.ended_at),
            "firstFailedAt": _moment(self.first_failed_at),
            "error": self.error,
            "nextAttempt": self.next_attempt,
            "dueAt": _moment(self.due_at),
            "deadLetter": self.letter,
            "reason": self.reason,
        }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def deliveries(event_ids: Iterable[UUID]) -> dict[UUID, list[TracedDelivery]]:
    """What became of these events at each consumer that they are for, by event."""
    found: dict[UUID, list[TracedDelivery]] = {}
    for row in fetch(_DELIVERIES, [list(event_ids)]):
        delivery = _delivery(*row)
        found.setdefault(delivery.event_id, []).append(delivery)
    return found


def _delivery(
    event_id: UUID,
    consumer: str,
    outcome: str | None,
    attempts: int | None,
    began_at: datetime | None,
    ended_at: datetime | None,
    failed_first: datetime | None,
    last_error: str | None,
    is_in_outbox: bool,
    retry: int | None,
    next_attempt: int | None,
    due_at: datetime | None,
    retry_failed_first: datetime | None,
    retry_error: str | None,
    letter: int | None,
    letter_state: str | None,
    reason: str | None,
    error_class: str | None,
    error_message: str | None,
    failed_at: datetime | None,
    letter_failed_first: datetime | None,
    letter_attempts: str | None,
) -> TracedDelivery:
    state = _state(outcome, letter_state, is_retrying=retry is not None, is_in_outbox=is_in_outbox)
    is_done = state is TraceState.DONE
    error = last_error or ""
    if state is TraceState.RETRYING:
        error = retry_error or ""
    elif letter is not None and not is_done:
        error = f"{(error_class or '').rsplit('.', 1)[-1]}: {error_message}"
    return TracedDelivery(
        event_id=event_id,
        consumer=consumer,
        state=state,
        attempts=attempts or (next_attempt - 1 if next_attempt else 0) or _count(letter_attempts),
        began_at=(began_at or failed_at) if state is not TraceState.DEAD else failed_at or began_at,
        ended_at=ended_at if is_done else None,
        first_failed_at=failed_first or retry_failed_first or letter_failed_first,
        error=error,
        retry=retry,
        next_attempt=next_attempt,
        due_at=due_at,
        letter=letter,
        letter_state=letter_state or "",
        reason=reason or "" if not is_done else "",
    )


def _count(attempts: str | None) -> int:
    return attempts.count('"attempt"') if attempts else 0


def _state(outcome: str | None, letter: str | None, *, is_retrying: bool, is_in_outbox: bool) -> TraceState:
    if is_retrying and outcome != Outcome.DONE:
        return TraceState.RETRYING
    if letter == DeadLetterState.REPLAYING:
        return TraceState.UNDER_WAY
    if outcome is not None:
        return _BY_OUTCOME[Outcome(outcome)]
    if letter == DeadLetterState.OPEN:
        return TraceState.DEAD
    if letter == DeadLetterState.DISCARDED:
        return TraceState.DISCARDED
    return TraceState.OUTBOX if is_in_outbox else TraceState.UNDER_WAY
