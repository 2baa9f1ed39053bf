"""What a pool process does with the deliveries it is handed: decode, handle, and see to it that each is settled.

When a run returns, or raises Postponed or DeadLettered, every delivery in it may be acknowledged: its effects are
committed, its retry is a row, or the broker has confirmed that it is in a queue. After anything else nothing may be
acknowledged.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from time import sleep
from typing import Any, NoReturn

import structlog
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, connection
from structlog.contextvars import bound_contextvars

from eventbus.broker.publisher import SEND_ERRORS, Blocked, ConfirmingPublisher, Outgoing
from eventbus.broker.topology import REDELIVERY_LIMIT
from eventbus.conf import bus_settings
from eventbus.contracts.codec import decode
from eventbus.contracts.event import Event
from eventbus.db.clock import database_time
from eventbus.declaration import Consumer
from eventbus.errors import EventbusError, InvalidEvent, Reason, RetryAfter
from eventbus.failpoints import failpoint
from eventbus.recording.context import handling
from eventbus.retries import writing
from eventbus.worker import inbox, lock_waits
from eventbus.worker.delivery import Delivery
from eventbus.worker.failures import (
    GiveUp,
    PoisonMessage,
    RetryLater,
    dead_message,
    decide,
    describe,
    is_locked_out,
    is_momentary,
    is_outage,
    put_back_message,
    retry_message,
)
from eventbus.worker.inbox import Arrival
from eventbus.worker.ordering import BlockedByEarlier
from eventbus.worker.originals import originals_of
from eventbus.worker.telling import told

log = structlog.get_logger(__name__)

#: What keeps a failure from being noted.
UNSETTLING: tuple[type[Exception], ...] = (DatabaseError, InterfaceError, *SEND_ERRORS)
MOMENTARY_RUNS = 3
SEND_TRIES = 5


class BatchFailed(EventbusError):
    """Something in a batch failed and nothing of it was done: its deliveries have to run one by one."""


class Failed(EventbusError):
    """The delivery failed.

    Made of what went wrong, as text, and of whether that may lie at something the handler needs, not at the event.
    """

    def __init__(self, cause: str, may_be_outage: bool) -> None:
        super().__init__(cause, may_be_outage)
        self.may_be_outage = may_be_outage

    def __str__(self) -> str:
        return str(self.args[0])


class Settled(Failed):
    """It is noted where it goes on: the delivery may be acknowledged."""


class Postponed(Settled):
    """It comes again later."""


class DeadLettered(Settled):
    """It is given up and in the dead-letter queue."""


class Unsettled(Failed):
    """Nothing is noted of it, for want of the database or of the broker: keep the delivery, and run it again."""


def run_batch(consumer: Consumer, deliveries: Sequence[Delivery]) -> int:
    """Handle several deliveries in one transaction; returns how many were new. Raises BatchFailed with nothing done."""
    try:
        lock_waits.lengthen_when_over()
        events = read_all(consumer, deliveries)
        arrivals = [arrival_of(delivery, event) for delivery, event in zip(deliveries, events, strict=True)]
        new = inbox.process(consumer, arrivals)
    except Exception as error:  # noqa: BLE001  whatever it is, its text may repeat what the events say
        cause = told(f"{type(error).__name__}: {error}", *(delivery.body for delivery in deliveries))
        log.warning("batch.split", consumer=consumer.name, events=len(deliveries), error=cause)
        if is_locked_out(error):
            lock_waits.shorten()
        raise BatchFailed(cause) from None
    log.info("batch.processed", duplicates=len(deliveries) - new, **_batch_ids(consumer, arrivals))
    return new


def arrival_of(delivery: Delivery, event: Event) -> Arrival:
    """A delivery as the inbox takes it in."""
    return Arrival(event, delivery.attempt, delivery.failed_before, delivery.last_error)


def _batch_ids(consumer: Consumer, arrivals: Sequence[Arrival]) -> dict[str, Any]:
    """The ids of a batch's one log line: a search for any of its events, orders or correlations finds it."""
    envelopes = [arrival.event.envelope for arrival in arrivals]
    ids: dict[str, Any] = {
        "consumer": consumer.name,
        "events": len(envelopes),
        "event_ids": [str(envelope.event_id) for envelope in envelopes],
        "correlation_ids": [envelope.metadata.correlation_id for envelope in envelopes],
        "causation_ids": [str(cause) for envelope in envelopes if (cause := envelope.metadata.causation_id)],
    }
    for envelope in envelopes:
        ids.setdefault(f"{envelope.aggregate_type}_ids", []).append(envelope.aggregate_id)
    return ids


def run_one(consumer: Consumer, delivery: Delivery) -> int:
    """Handle one delivery; returns 1 if it was new, 0 for a duplicate.

    Raises Postponed or DeadLettered when the delivery is settled that way, and Unsettled when it could not be.
    """
    event: Event | None = None
    failure: Exception | None = None
    try:
        # Before it is read: reading may be what kills.
        if delivery.redeliveries >= REDELIVERY_LIMIT:
            raise PoisonMessage(f"Delivered {delivery.redeliveries} times before, and no run of it came to an end.")
        event = read(consumer, delivery)
        new = _process_persistently(consumer, arrival_of(delivery, event))
    except Exception as error:  # noqa: BLE001  whatever it is, it is settled below, and told without its values
        failure = error
    with _log_ids(consumer, event):
        if failure is not None:
            _settle_failure(consumer, delivery, event, failure)
        log.info("event.processed" if new else "event.duplicate", attempt=delivery.attempt)
    return new


def put_back(consumer: Consumer, deliveries: Sequence[Delivery]) -> NoReturn:
    """Send what waits in the worker for long to the end of its queue, with no attempt used.

    Raises Postponed; Unsettled when the broker did not take all of it.
    """
    try:
        if not _send(*(put_back_message(consumer, delivery) for delivery in deliveries)):
            raise Unsettled(f"The queue {consumer.name} does not take all that is put back.", may_be_outage=False)
    except SEND_ERRORS as error:
        raise Unsettled(f"{type(error).__name__}: {error}", may_be_outage=False) from error
    log.warning("events.put_back", consumer=consumer.name, events=len(deliveries))
    raise Postponed("it waited in the worker for long", may_be_outage=False)


def _log_ids(consumer: Consumer, event: Event | None) -> AbstractContextManager[None]:
    if event is not None:
        return handling(event.envelope, consumer.name)
    return bound_contextvars(consumer=consumer.name)


def read(consumer: Consumer, delivery: Delivery) -> Event:
    """The delivery as an event that this consumer listens to, in its version. Raises InvalidEvent and DatabaseError."""
    return read_all(consumer, [delivery])[0]


def read_all(consumer: Consumer, deliveries: Sequence[Delivery]) -> list[Event]:
    """As read(), for several."""
    decoded = [_decode(consumer, delivery) for delivery in deliveries]
    return [consumer.as_read(event) for event in originals_of(consumer, decoded)]


def _decode(consumer: Consumer, delivery: Delivery) -> Event:
    event = decode(delivery.body)
    if event.routing_key() not in consumer.reads:
        raise InvalidEvent(
            Reason.NOT_SUBSCRIBED,
            f"{consumer.name} listens to {', '.join(consumer.routing_keys)}, not {event.routing_key()}.",
        )
    return event


def _process_persistently(consumer: Consumer, arrival: Arrival) -> int:
    lock_waits.lengthen_when_over()
    for run in range(1, MOMENTARY_RUNS + 1):
        try:
            return inbox.process(consumer, [arrival])
        except DatabaseError as error:
            if is_locked_out(error):
                lock_waits.shorten()
                raise
            if run == MOMENTARY_RUNS or not is_momentary(error):
                raise
    raise AssertionError("unreachable")


def _settle_failure(consumer: Consumer, delivery: Delivery, event: Event | None, error: Exception) -> NoReturn:
    """Note where a delivery that failed goes on. Raises what has become of it: a Failed."""
    cause = told(f"{type(error).__name__}: {error}", delivery.body)
    if is_outage(error):
        log.warning("event.kept", error=cause)
        raise Unsettled(cause, may_be_outage=True)
    try:
        _settle(consumer, delivery, event, error, cause)
    except DataError:
        raise  # Kept, it would be refused for ever. So the broker counts its deliveries, and gives it up at its limit.
    except UNSETTLING as other:
        why = told(f"{type(other).__name__}: {other}", delivery.body)
        may_be_outage = not isinstance(other, SEND_ERRORS)
    log.warning("event.kept", error=cause, not_noted=why)
    raise Unsettled(f"{cause} (and {why})", may_be_outage)


def _settle(consumer: Consumer, delivery: Delivery, event: Event | None, error: Exception, cause: str) -> NoReturn:
    now = database_time()
    what = decide(consumer, error, delivery, now)
    may_be_outage = _may_be_outage(what, error)
    connection.close_if_unusable_or_obsolete()
    if isinstance(what, GiveUp):
        _note_dead(consumer, delivery, event, error)
        if _send(dead_message(consumer, delivery, what, error, now)):
            trace = told(describe(error), delivery.body)
            log.error("event.dead_lettered", reason=what.reason, attempt=delivery.attempt, error=cause, exception=trace)
            raise DeadLettered(f"{what.reason}: {cause}", may_be_outage)
        # The dead-letter queue is missing or full, or the broker in alarm.
        what = RetryLater(1, delivery.attempt)
    writing.write(
        retry_message(consumer, delivery, what, error, now),
        after=what.delay,
        attempt=what.attempt,
        first_failed_at=delivery.first_failed_at(now),
        error=cause,
        event_id=event.envelope.event_id if event is not None else delivery.message_id,
        envelope=event.envelope if event is not None else None,
    )
    failpoint("consumer.after_retry")
    log.warning("event.postponed", delay_seconds=what.delay, attempt=delivery.attempt, error=cause)
    raise Postponed(cause, may_be_outage)


def _may_be_outage(what: RetryLater | GiveUp, error: Exception) -> bool:
    """Whether it may lie at something the handler needs. A missing dead-letter queue is nothing of that kind, nor is
    what the handler says of this one event, what waits for another, or a row that somebody has locked: others go on."""
    if isinstance(error, BlockedByEarlier | RetryAfter | IntegrityError) or is_locked_out(error):
        return False
    return isinstance(what, RetryLater) or what.reason in (Reason.EXHAUSTED, Reason.EXPIRED)


def _note_dead(consumer: Consumer, delivery: Delivery, event: Event | None, error: Exception) -> None:
    """Note it in the inbox before the message goes, so that a replay that overtakes us finds a row to claim.

    What could not be read as an event has no row there. Raises DatabaseError where the database is away.
    """
    event_id = event.envelope.event_id if event is not None else None
    if isinstance(error, PoisonMessage):
        event_id = delivery.message_id
    if event_id is None:
        return
    try:
        inbox.mark_dead(consumer, event_id, delivery.attempt)
    except DatabaseError as refusal:
        if is_outage(refusal):
            raise


@cache
def _publisher() -> ConfirmingPublisher:
    """This process's own connection for what it dead-letters and puts back."""
    return ConfirmingPublisher(bus_settings.BROKER_URL, confirm_timeout=10, waits_in_alarm=False)


def _send(*messages: Outgoing) -> bool:
    """Publish messages; whether the broker took all. Raises a broker error when the broker can't be reached."""
    for tries_left in reversed(range(SEND_TRIES)):
        try:
            return len(_publisher().send(messages)) == len(messages)
        except Blocked:
            return False  # consuming goes on, which may be what ends the alarm
        except SEND_ERRORS:
            _publisher().close()
            if not tries_left:
                raise
            sleep(0.5)
    raise AssertionError("unreachable")
