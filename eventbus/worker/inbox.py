"""Exactly one effect per (consumer, event): the inbox row and the effects commit together.

A trigger watches these rows (`heal_dead_letter`, in the first migration). Where one turns from anything else to done,
be it by a retry, a replay or a later delivery, it settles in the same transaction what `eventbus.dead_letters` has of
that consumer and event: the dead letter becomes replayed, and so does its item in a replay. No code here does that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from eventbus.contracts.codec import payload_hash
from eventbus.contracts.event import Event
from eventbus.declaration import Consumer
from eventbus.errors import InvalidEvent, Reason
from eventbus.failpoints import failpoint
from eventbus.recording.context import handling
from eventbus.recording.publish import single_statement
from eventbus.worker import lock_waits, ordering, pause
from eventbus.worker.ordering import BlockedByEarlier
from eventbus.worker.telling import told

# Sorted, so that two batches with the same events cannot deadlock. A dead letter's row may be claimed again: its replay
# is what it waits for. So may that of an event that waits behind one.
_CLAIM = """
INSERT INTO processed_event AS done (event_id, consumer, attempts, payload_hash{columns})
SELECT event_id, %s, attempts, hash{columns}
FROM unnest(%s::uuid[], %s::int[], %s::bigint[]{types}) AS t(event_id, attempts, hash{columns})
ORDER BY event_id
ON CONFLICT (event_id, consumer) DO UPDATE
    SET outcome = 'done', attempts = EXCLUDED.attempts, payload_hash = EXCLUDED.payload_hash, processed_at = now(){sets}
    WHERE done.outcome IN ('dead', 'waiting')
RETURNING event_id
"""
CLAIM = _CLAIM.format(columns="", types="", sets="")
# What failed before says when first, and how. Two columns more to send for each event would be felt; few have them.
CLAIM_AFTER_FAILURES = _CLAIM.format(
    columns=", first_failed_at, last_error",
    types=", %s::timestamptz[], %s::text[]",
    sets=", first_failed_at = EXCLUDED.first_failed_at, last_error = EXCLUDED.last_error",
)
# A projection waits out its pause in the same round trip. All rows are read, and so the wait is over, before the first
# one is inserted. What a rebuild has marked as done meanwhile is a conflict, whatever this statement's snapshot says.
WHILE_PAUSED = f", (SELECT {pause.SHARE}) AS pause ORDER BY"
IS_DONE = "SELECT EXISTS (SELECT FROM processed_event WHERE event_id = %s AND consumer = %s AND outcome = 'done')"
# What a rebuild has marked as done has no hash.
OF_ANOTHER_PAYLOAD = """
SELECT p.event_id FROM processed_event p JOIN unnest(%s::uuid[], %s::bigint[]) AS t(event_id, hash) USING (event_id)
WHERE p.consumer = %s AND p.outcome = 'done' AND p.payload_hash <> t.hash LIMIT 1
"""
MARK_DEAD = """
INSERT INTO processed_event (event_id, consumer, attempts, outcome) VALUES (%s, %s, %s, 'dead')
ON CONFLICT (event_id, consumer) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event as it arrived at a consumer; `attempt` counts from 1. What failed before says when first, and how."""

    event: Event
    attempt: int = 1
    first_failed_at: datetime | None = None
    last_error: str | None = None


def process(consumer: Consumer, arrivals: Sequence[Arrival]) -> int:
    """Handle what is new among the arrivals, all in one transaction or none; returns how many were new.

    Raises whatever the handler raises, with nothing done.
    """
    if consumer.side_effects:
        return sum(_process_outside(consumer, arrival) for arrival in arrivals)
    with transaction.atomic():
        lock_waits.limit_transaction()
        new = _process_in_order(consumer, arrivals) if consumer.ordered else _process_as_they_come(consumer, arrivals)
        failpoint("consumer.before_commit")
    failpoint("consumer.after_commit")
    return new


def _process_as_they_come(consumer: Consumer, arrivals: Sequence[Arrival]) -> int:
    fresh = _claim(consumer, arrivals)
    if len(fresh) < len(arrivals):
        _refuse_impostors(consumer, arrivals)
    if fresh:
        with single_statement():
            handle(consumer, fresh)
    return len(fresh)


def _process_in_order(consumer: Consumer, arrivals: Sequence[Arrival]) -> int:
    """Handle what is due in the arrivals' aggregates; raises BlockedByEarlier where it is not an arrival that fails."""
    if consumer.tables:
        pause.wait_while_paused(consumer.name)
    plan = ordering.plan(consumer, [arrival.event for arrival in arrivals])
    arrived = {arrival.event.envelope.event_id: arrival for arrival in arrivals}
    due = [replace(arrived.get(event.envelope.event_id) or Arrival(event), event=event) for event in plan.due]
    fresh = _claim(consumer, due)
    # Also of what is fresh: what is due is read from the archive, whatever arrived under its id.
    _refuse_impostors(consumer, arrivals)
    with single_statement():
        for event in fresh:
            try:
                handle(consumer, [event])
            except Exception as error:
                if event.envelope.event_id in arrived:
                    raise
                cause = told(f"{type(error).__name__}: {error}", event)
                raise BlockedByEarlier(f"{event.envelope.event_id}: {cause}") from error
    ordering.let_wait(consumer, plan.waiting)
    ordering.advance(consumer, plan.due)
    return len(fresh)


def _claim(consumer: Consumer, arrivals: Sequence[Arrival]) -> list[Event]:
    """Insert the inbox rows; returns the events that were not there yet, in the order of arrival."""
    by_id = {arrival.event.envelope.event_id: arrival for arrival in arrivals}
    if not by_id:
        return []
    rows = [(each.attempt, payload_hash(each.event), each.first_failed_at, each.last_error) for each in by_id.values()]
    attempts, hashes, *failures = (list(column) for column in zip(*rows, strict=True))
    has_failed = any(arrival.attempt > 1 for arrival in by_id.values())
    statement = CLAIM_AFTER_FAILURES if has_failed else CLAIM
    params = [consumer.name, list(by_id), attempts, hashes, *(failures if has_failed else ())]
    if consumer.tables:
        statement = statement.replace("ORDER BY", WHILE_PAUSED)
        params.append(consumer.name)
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        new = {event_id for (event_id,) in cursor.fetchall()}
    return [arrival.event for event_id, arrival in by_id.items() if event_id in new]


def _refuse_impostors(consumer: Consumer, arrivals: Sequence[Arrival]) -> None:
    """Raises InvalidEvent where one of the arrivals has the id of an event that is done, and says something else."""
    ids = [arrival.event.envelope.event_id for arrival in arrivals]
    with connection.cursor() as cursor:
        cursor.execute(OF_ANOTHER_PAYLOAD, [ids, [payload_hash(arrival.event) for arrival in arrivals], consumer.name])
        if found := cursor.fetchone():
            raise InvalidEvent(Reason.INVALID_ENVELOPE, f"eventId: {found[0]} is an event with another payload.")


def handle(consumer: Consumer, events: list[Event]) -> None:
    """Call the handler: once for a list that it takes, else once for each event, as its cause."""
    if consumer.batched and len(events) > 1:
        consumer.handler(events)
        return
    for event in events:
        with handling(event.envelope, consumer.name):
            consumer.handler([event] if consumer.batched else event)


def _process_outside(consumer: Consumer, arrival: Arrival) -> int:
    """An outside effect can't be rolled back, so the handler claims its work itself and the inbox row follows it."""
    event_id = arrival.event.envelope.event_id
    with connection.cursor() as cursor:
        cursor.execute(IS_DONE, [event_id, consumer.name])
        row = cursor.fetchone()
    if row is not None and row[0]:
        _refuse_impostors(consumer, [arrival])
        return 0
    with handling(arrival.event.envelope, consumer.name):
        consumer.handler(arrival.event)
    with transaction.atomic():
        return len(_claim(consumer, [arrival]))


def mark_dead(consumer: Consumer, event_id: UUID, attempts: int) -> None:
    """Note in the inbox that this event became a dead letter of this consumer."""
    with connection.cursor() as cursor:
        cursor.execute(MARK_DEAD, [event_id, consumer.name, attempts])
