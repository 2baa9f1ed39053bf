"""Exactly one effect per (consumer, event): the inbox row and the effects commit together."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction

from eventbus import gate, ordering
from eventbus.context import handling
from eventbus.contracts import Event
from eventbus.declarations import Consumer
from eventbus.failpoints import failpoint
from eventbus.ordering import EarlierFailed
from eventbus.publishing import one_statement

# Sorted, so that two batches with the same events cannot deadlock. A dead letter's row may be claimed again: its replay
# is what it waits for. So may that of an event that waits behind one.
CLAIM = """
INSERT INTO processed_event AS done (event_id, consumer, attempts)
SELECT event_id, %s, attempts FROM unnest(%s::uuid[], %s::int[]) AS t(event_id, attempts) ORDER BY event_id
ON CONFLICT (event_id, consumer) DO UPDATE
    SET outcome = 'done', attempts = EXCLUDED.attempts, processed_at = now()
    WHERE done.outcome IN ('dead', 'waiting')
RETURNING event_id
"""
# The gate of a projection in the same round trip. All of its rows are read, and so the gate is passed, before the first
# one is inserted. What a rebuild has marked as done meanwhile is a conflict, whatever this statement's snapshot says.
CLAIM_BEHIND_GATE = CLAIM.replace("ORDER BY", f", (SELECT {gate.PASS}) AS gate ORDER BY")
IS_DONE = "SELECT EXISTS (SELECT FROM processed_event WHERE event_id = %s AND consumer = %s AND outcome = 'done')"
MARK_DEAD = """
INSERT INTO processed_event (event_id, consumer, attempts, outcome) VALUES (%s, %s, %s, 'dead')
ON CONFLICT (event_id, consumer) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event as it arrived at a consumer; `attempt` counts from 1."""

    event: Event
    attempt: int = 1


def process(consumer: Consumer, arrivals: Sequence[Arrival]) -> int:
    """Handle what is new among the arrivals, all in one transaction or none; returns how many were new.

    Raises whatever the handler raises, with nothing done.
    """
    if consumer.outside_effects:
        return sum(_process_outside(consumer, arrival) for arrival in arrivals)
    with transaction.atomic():
        new = _process_in_order(consumer, arrivals) if consumer.ordered else _process_as_they_come(consumer, arrivals)
        failpoint("consumer.before_commit")
    failpoint("consumer.after_commit")
    return new


def _process_as_they_come(consumer: Consumer, arrivals: Sequence[Arrival]) -> int:
    fresh = _claim(consumer, arrivals)
    if fresh:
        with one_statement():
            handle(consumer, fresh)
    return len(fresh)


def _process_in_order(consumer: Consumer, arrivals: Sequence[Arrival]) -> int:
    """Handle what is due in the arrivals' aggregates; raises EarlierFailed where it is not an arrival that fails."""
    if consumer.tables:
        gate.pass_through(consumer.name)
    plan = ordering.plan(consumer, [arrival.event for arrival in arrivals])
    attempts = {arrival.event.envelope.event_id: arrival.attempt for arrival in arrivals}
    fresh = _claim(consumer, [Arrival(event, attempts.get(event.envelope.event_id, 1)) for event in plan.due])
    with one_statement():
        for event in fresh:
            try:
                handle(consumer, [event])
            except Exception as error:
                if event.envelope.event_id in attempts:
                    raise
                raise EarlierFailed(f"{event.envelope.event_id}: {type(error).__name__}: {error}") from error
    ordering.let_wait(consumer, plan.waiting)
    ordering.advance(consumer, plan.due)
    return len(fresh)


def _claim(consumer: Consumer, arrivals: Sequence[Arrival]) -> list[Event]:
    """Insert the inbox rows; returns the events that were not there yet, in the order of arrival."""
    by_id = {arrival.event.envelope.event_id: arrival for arrival in arrivals}
    statement = CLAIM_BEHIND_GATE if consumer.tables else CLAIM
    at_the_gate = [consumer.name] if consumer.tables else []
    with connection.cursor() as cursor:
        cursor.execute(
            statement, [consumer.name, list(by_id), [arrival.attempt for arrival in by_id.values()], *at_the_gate]
        )
        new = {event_id for (event_id,) in cursor.fetchall()}
    return [arrival.event for event_id, arrival in by_id.items() if event_id in new]


def handle(consumer: Consumer, events: list[Event]) -> None:
    """Call the handler: once for a list that it takes, else once for each event, as its cause."""
    if consumer.takes_list and len(events) > 1:
        consumer.handler(events)
        return
    for event in events:
        with handling(event.envelope, consumer.name):
            consumer.handler([event] if consumer.takes_list else event)


def _process_outside(consumer: Consumer, arrival: Arrival) -> int:
    """An outside effect can't be rolled back, so the handler claims its work itself and the inbox row follows it."""
    event_id = arrival.event.envelope.event_id
    with connection.cursor() as cursor:
        cursor.execute(IS_DONE, [event_id, consumer.name])
        row = cursor.fetchone()
    if row is not None and row[0]:
        return 0
    with handling(arrival.event.envelope, consumer.name):
        consumer.handler(arrival.event)
    with transaction.atomic():
        return len(_claim(consumer, [arrival]))


def mark_dead(consumer: Consumer, event_id: UUID, attempts: int) -> None:
    """Note in the inbox that this event became a dead letter of this consumer."""
    with connection.cursor() as cursor:
        cursor.execute(MARK_DEAD, [event_id, consumer.name, attempts])
