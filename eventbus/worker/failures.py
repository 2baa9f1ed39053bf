"""What becomes of an event that failed: again later, or a dead letter. Pure rules, and messages to carry them out."""

import json
import traceback
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError

from eventbus.broker.publisher import Outgoing
from eventbus.broker.topology import DEAD
from eventbus.conf import bus_settings
from eventbus.db.discretion import ABOUT_VALUES
from eventbus.declaration import LONGEST_DELAY, Consumer
from eventbus.errors import EventbusError, InvalidEvent, PermanentFailure, Reason, RetryAfter
from eventbus.worker.code_place import place_of
from eventbus.worker.delivery import PASSED_ON, Delivery
from eventbus.worker.ordering import BlockedByEarlier
from eventbus.worker.telling import told

#: SQLSTATEs that a second run in the same second usually heals: deadlock, serialization failure, lock time-out.
MOMENTARY = frozenset({"40P01", "40001", "55P03"})

#: Of class 23, but what is missing or in the way may be another event's, which comes or goes: foreign key, restrict.
FOREIGN_KEY = frozenset({"23503", "23001"})
#: The one of them that somebody else's transaction causes, for as long as it goes on.
LOCK_NOT_AVAILABLE = "55P03"

#: What waits for a lock comes back after a second, after ten of that every ten.
LOCK_DELAYS = (1, 10)

#: Classes of SQLSTATE that say the server is not there or can't work: connection, resources, operator intervention.
OUTAGE_CLASSES = frozenset({"08", "53", "57", "58"})

#: Of class 57, but it says nothing of the server: a statement took too long, and will again.
QUERY_CANCELED = "57014"

#: What waits for an earlier event comes back after a second, after a minute of that every ten.
BEHIND_DELAYS = (1, 10)

MAX_HEADER_CHARS = 8_000

#: All headers of a message share one frame of 128 KiB, so a long history keeps its beginning and its end.
FIRST_ATTEMPTS, LAST_ATTEMPTS, MAX_ATTEMPT_CHARS = 10, 10, 200


class PoisonMessage(EventbusError):
    """The delivery came back too often and nobody knows why."""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Try again after `delay` seconds, as attempt number `attempt`."""

    delay: float
    attempt: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It becomes a dead letter, for this reason."""

    reason: Reason


def decide(consumer: Consumer, error: Exception, delivery: Delivery, now: datetime) -> RetryLater | GiveUp:
    """What to do with a delivery that failed with this error, which is no outage of the database.

    A row that somebody else has locked, and the failure of an earlier event, in an ordered consumer, use up no attempt.
    """
    since_first_failure = (now - delivery.first_failed_at(now)).total_seconds()
    if isinstance(error, InvalidEvent):
        return GiveUp(error.reason)
    if isinstance(error, PoisonMessage):
        return GiveUp(Reason.KILLS_ITS_WORKER)
    if isinstance(error, BlockedByEarlier):
        return RetryLater(BEHIND_DELAYS[since_first_failure > 60], delivery.attempt)
    if is_locked_out(error) and since_first_failure <= consumer.retry.max_age:
        return RetryLater(LOCK_DELAYS[since_first_failure > 10], delivery.attempt)
    if isinstance(error, RetryAfter) and since_first_failure <= consumer.retry.max_age:
        return RetryLater(max(0.0, min(error.seconds, LONGEST_DELAY)), delivery.attempt)
    if isinstance(error, (PermanentFailure, *consumer.retry.give_up_on)) or is_refusal(error):
        return GiveUp(Reason.PERMANENT)
    if delivery.attempt > consumer.retry.times or not delivery.may_retry:
        return GiveUp(Reason.EXHAUSTED)
    if since_first_failure > consumer.retry.max_age:
        return GiveUp(Reason.EXPIRED)
    delays = consumer.retry.delays
    return RetryLater(delays[min(delivery.attempt, len(delays)) - 1], delivery.attempt + 1)


def sqlstate(error: Exception) -> str | None:
    """The server's error code, where a database error carries one."""
    return getattr(error.__cause__, "sqlstate", None) if isinstance(error, DatabaseError) else None


def is_momentary(error: Exception) -> bool:
    """Whether running the same transaction again at once may work. What breaks a rule may have lost a race."""
    return sqlstate(error) in MOMENTARY or isinstance(error, IntegrityError)


def is_refusal(error: Exception) -> bool:
    """Whether the database refuses what the event brings, and will again. The driver itself refuses some data."""
    code = sqlstate(error) or ""
    return isinstance(error, DataError) or (code.startswith(ABOUT_VALUES) and code not in FOREIGN_KEY)


def is_locked_out(error: Exception) -> bool:
    """Whether it waited in vain for what another transaction has locked."""
    return sqlstate(error) == LOCK_NOT_AVAILABLE


def is_outage(error: Exception) -> bool:
    """Whether the database, not the event, is what failed."""
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError):
        return False
    code = sqlstate(error)
    return code is None or (code[:2] in OUTAGE_CLASSES and code != QUERY_CANCELED)


def retry_message(
    consumer: Consumer, delivery: Delivery, again: RetryLater, error: Exception, now: datetime
) -> Outgoing:
    """The delivery as it comes again, to this consumer alone."""
    headers = {
        **delivery.headers,
        "x-attempt": again.attempt,
        "x-attempts": _with_attempt(delivery, error, now),
        "x-first-failed-at": delivery.first_failed_at(now).isoformat(),
    }
    return _resend("", consumer, delivery, headers)


def put_back_message(consumer: Consumer, delivery: Delivery) -> Outgoing:
    """The delivery, of which nothing was done, on its way to the end of this consumer's queue."""
    return _resend("", consumer, delivery, delivery.headers)


def dead_message(consumer: Consumer, delivery: Delivery, dead: GiveUp, error: Exception, now: datetime) -> Outgoing:
    """The delivery on its way to the consumer's dead-letter queue, with the reason in its headers."""
    headers = {
        **delivery.headers,
        "x-dead-reason": str(dead.reason),
        "x-consumer": consumer.name,
        "x-attempt": delivery.attempt,
        "x-attempts": _with_attempt(delivery, error, now),
        "x-first-failed-at": delivery.first_failed_at(now).isoformat(),
        "x-failed-at": now.isoformat(),
        "x-error-place": place_of(error),
        "x-code-version": bus_settings.CODE_VERSION,
        "x-error-class": f"{type(error).__module__}.{type(error).__qualname__}",
        "x-error-message": told(str(error), delivery.body)[:MAX_HEADER_CHARS],
        "x-traceback": told(describe(error), delivery.body)[-MAX_HEADER_CHARS:],
    }
    return _resend(DEAD, consumer, delivery, headers)


def describe(error: Exception) -> str:
    """The traceback as text. What made an event invalid is left out: it repeats values, and those are encrypted."""
    return "".join(traceback.format_exception(error, chain=not isinstance(error, InvalidEvent)))


def _with_attempt(delivery: Delivery, error: Exception, now: datetime) -> str:
    cause = told(f"{type(error).__name__}: {error}", delivery.body)[:MAX_ATTEMPT_CHARS]
    attempts = [*delivery.attempts, {"attempt": delivery.attempt, "at": now.isoformat(), "error": cause}]
    if len(attempts) > FIRST_ATTEMPTS + LAST_ATTEMPTS:
        attempts = attempts[:FIRST_ATTEMPTS] + attempts[-LAST_ATTEMPTS:]
    return json.dumps(attempts)


def _resend(exchange: str, consumer: Consumer, delivery: Delivery, headers: dict[str, Any]) -> Outgoing:
    properties = {name: delivery.properties[name] for name in PASSED_ON if delivery.properties.get(name) is not None}
    # The broker counts the deliveries of this message; the one that we send is a new one.
    kept = {name: value for name, value in headers.items() if name != "x-delivery-count"}
    return Outgoing(exchange, consumer.name, delivery.body, {**properties, "application_headers": kept})
