import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError

from eventbus.declaration import Retry, consumer
from eventbus.errors import InvalidEvent, PermanentFailure, Reason, RetryAfter
from eventbus.tests.samples import ParcelSent
from eventbus.worker.delivery import Delivery
from eventbus.worker.failures import (
    MAX_HEADER_CHARS,
    GiveUp,
    PoisonMessage,
    RetryLater,
    dead_message,
    decide,
    is_momentary,
    is_outage,
    retry_message,
)
from eventbus.worker.ordering import BlockedByEarlier

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


class Hopeless(Exception):
    """An error that the consumer has declared to never heal."""


PATIENT = Retry(times=3, delays=(1, 10), max_age=3600, give_up_on=(Hopeless,))


@pytest.fixture
def patient() -> Any:
    return consumer("parcel.patient", on=[ParcelSent], retry=PATIENT)(lambda _: None)


def failed_before(attempt: int, *, seconds_ago: float = 5) -> Delivery:
    since = (NOW - timedelta(seconds=seconds_ago)).isoformat()
    return Delivery(b"{}", {"x-attempt": attempt, "x-first-failed-at": since})


def from_server(code: str, kind: type[DatabaseError] = OperationalError) -> DatabaseError:
    """A database error as Django raises it: the driver's error is its cause."""
    error = kind("from the server")
    error.__cause__ = psycopg.errors.lookup(code)("from the server")
    return error


@pytest.mark.parametrize(
    ("error", "delivery", "expected"),
    [
        (ValueError("x"), Delivery(b"{}"), RetryLater(1, 2)),
        (ValueError("x"), failed_before(2), RetryLater(10, 3)),
        (ValueError("x"), failed_before(3), RetryLater(10, 4)),
        (ValueError("x"), failed_before(4), GiveUp(Reason.EXHAUSTED)),
        (ValueError("x"), failed_before(2, seconds_ago=3601), GiveUp(Reason.EXPIRED)),
        (ValueError("x"), failed_before(2, seconds_ago=3599), RetryLater(10, 3)),
        (PermanentFailure("x"), Delivery(b"{}"), GiveUp(Reason.PERMANENT)),
        (Hopeless("x"), Delivery(b"{}"), GiveUp(Reason.PERMANENT)),
        (InvalidEvent(Reason.UNKNOWN_TYPE, "x"), Delivery(b"{}"), GiveUp(Reason.UNKNOWN_TYPE)),
        (PoisonMessage("x"), Delivery(b"{}"), GiveUp(Reason.KILLS_ITS_WORKER)),
        # What the database refuses of the event, it refuses again.
        (DataError("the driver says so"), Delivery(b"{}"), GiveUp(Reason.PERMANENT)),
        (from_server("22003", DataError), Delivery(b"{}"), GiveUp(Reason.PERMANENT)),
        (from_server("23502", IntegrityError), Delivery(b"{}"), GiveUp(Reason.PERMANENT)),
        (from_server("23514", IntegrityError), Delivery(b"{}"), GiveUp(Reason.PERMANENT)),
        (from_server("23505", IntegrityError), Delivery(b"{}"), GiveUp(Reason.PERMANENT)),
        (from_server("54000"), Delivery(b"{}"), GiveUp(Reason.PERMANENT)),
        # The row that it refers to may be another event's, and still to come.
        (from_server("23503", IntegrityError), Delivery(b"{}"), RetryLater(1, 2)),
        (IntegrityError("x"), Delivery(b"{}"), RetryLater(1, 2)),
        # It waits for an earlier one: no attempt is used up, however often and however long.
        (BlockedByEarlier("x"), failed_before(4), RetryLater(1, 4)),
        (BlockedByEarlier("x"), failed_before(4, seconds_ago=61), RetryLater(10, 4)),
        (BlockedByEarlier("x"), failed_before(4, seconds_ago=100_000), RetryLater(10, 4)),
        # The handler knows when, to the second; up to a day.
        (RetryAfter(37.5), failed_before(4), RetryLater(37.5, 4)),
        (RetryAfter(10**9), failed_before(4), RetryLater(86_400, 4)),
        (RetryAfter(-1), failed_before(4), RetryLater(0, 4)),
        (RetryAfter(37.5), failed_before(4, seconds_ago=3601), GiveUp(Reason.EXHAUSTED)),
        # The database is there and refused this transaction: that is an attempt.
        (from_server("40P01"), failed_before(1), RetryLater(1, 2)),
        # Somebody else has what it needs, and may keep it for long: no attempt either, up to the time to give up.
        (from_server("55P03"), failed_before(4), RetryLater(1, 4)),
        (from_server("55P03"), failed_before(2, seconds_ago=11), RetryLater(10, 2)),
        (from_server("55P03"), failed_before(2, seconds_ago=3601), GiveUp(Reason.EXPIRED)),
        (from_server("57014"), failed_before(4), GiveUp(Reason.EXHAUSTED)),
    ],
)
def test_what_becomes_of_a_failure(
    patient: Any, error: Exception, delivery: Delivery, expected: RetryLater | GiveUp
) -> None:
    assert decide(patient, error, delivery, NOW) == expected


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (InterfaceError("x"), True),
        (OperationalError("x"), True),
        *((from_server(code), True) for code in ("57P01", "53300", "08006")),
        (from_server("57014"), False),
        (from_server("40P01"), False),
        (DataError("x"), False),
    ],
)
def test_an_outage_is_told_from_what_an_event_does(error: Exception, outage: bool) -> None:
    assert is_outage(error) is outage


@pytest.mark.parametrize(
    ("error", "momentary"),
    [
        *((from_server(code), True) for code in ("40P01", "40001", "55P03")),
        # It may have lost a race, and finds the winner's row now.
        *((from_server(code, IntegrityError), True) for code in ("23505", "23514")),
        (from_server("57P01"), False),
        (from_server("22003", DataError), False),
    ],
)
def test_only_what_may_heal_in_no_time_is_run_again_at_once(error: Exception, momentary: bool) -> None:
    assert is_momentary(error) is momentary


@pytest.mark.parametrize("nonsense", ["two", -1, 0, None, 10**9, [1], 1.5, b"2"])
def test_anyone_may_write_nonsense_into_the_headers(nonsense: Any) -> None:
    delivery = Delivery(b"{}", {"x-attempt": nonsense, "x-first-failed-at": nonsense, "x-delivery-count": nonsense})
    assert delivery.attempt == 1
    assert delivery.first_failed_at(NOW) == NOW
    assert isinstance(delivery.redeliveries, int)


@pytest.mark.parametrize(
    ("since", "read"),
    [
        ("2025-03-01T11:00:00+00:00", "2025-03-01T11:00:00+00:00"),
        ("2025-03-01T12:00:00+01:00", "2025-03-01T11:00:00+00:00"),
        ("2025-03-01T11:00:00", "2025-03-01T11:00:00+00:00"),
        (datetime(2025, 3, 1, 11), "2025-03-01T11:00:00+00:00"),
        ("0001-01-01", "0001-01-01T00:00:00+00:00"),
        # No moment of Python's calendar, one that is still to come, and no moment at all: as if it had not failed yet.
        ("0001-01-01T00:00:00+05:00", NOW.isoformat()),
        ("9999-12-31T23:59:59-05:00", NOW.isoformat()),
        ("9999-12-31", NOW.isoformat()),
        ("not a time", NOW.isoformat()),
    ],
)
def test_a_decision_is_reached_whatever_the_time_header_says(patient: Any, since: Any, read: str) -> None:
    delivery = Delivery(b"{}", {"x-attempt": 2, "x-first-failed-at": since})
    decided = decide(patient, ValueError("x"), delivery, NOW)
    assert isinstance(decided, RetryLater | GiveUp)
    again = retry_message(patient, delivery, RetryLater(1, 3), ValueError("x"), NOW)
    given_up = dead_message(patient, delivery, GiveUp(Reason.EXPIRED), ValueError("x"), NOW)
    for message in (again, given_up):
        assert message.properties["application_headers"]["x-first-failed-at"] == read


def test_a_retry_goes_back_to_its_consumer_alone_and_remembers_the_first_failure(patient: Any) -> None:
    delivery = Delivery(b"body", {"cloudEvents_id": "e1", "x-delivery-count": 7}, {"message_id": "e1", "type": "t"})

    first = retry_message(patient, delivery, RetryLater(1, 2), ValueError("no"), NOW)
    later = retry_message(
        patient,
        Delivery(b"body", first.properties["application_headers"]),
        RetryLater(10, 3),
        ValueError("no again"),
        NOW + timedelta(hours=1),
    )

    assert first.routing_key == later.routing_key == "parcel.patient"
    assert first.exchange == later.exchange == ""
    assert first.body == b"body"
    assert (first.properties["message_id"], first.properties["type"]) == ("e1", "t")
    headers = later.properties["application_headers"]
    assert json.loads(headers.pop("x-attempts")) == [
        {"attempt": 1, "at": "2025-03-01T12:00:00+00:00", "error": "ValueError: no"},
        {"attempt": 2, "at": "2025-03-01T13:00:00+00:00", "error": "ValueError: no again"},
    ]
    assert headers == {"cloudEvents_id": "e1", "x-attempt": 3, "x-first-failed-at": NOW.isoformat()}


def test_a_long_history_of_attempts_keeps_its_beginning_and_its_end(patient: Any) -> None:
    delivery = Delivery(b"body")
    for attempt in range(1, 501):
        message = retry_message(patient, delivery, RetryLater(1, attempt + 1), ValueError("x" * 1000), NOW)
        delivery = Delivery(b"body", message.properties["application_headers"])
    assert [each["attempt"] for each in delivery.attempts] == [*range(1, 11), *range(491, 501)]
    assert len(delivery.headers["x-attempts"]) < 10_000


def test_the_first_letters_of_a_replay_are_not_tried_again(patient: Any) -> None:
    assert decide(patient, ValueError("x"), Delivery(b"{}", {"x-single-try": 1}), NOW) == GiveUp(Reason.EXHAUSTED)
    assert decide(patient, RetryAfter(1), Delivery(b"{}", {"x-single-try": 1}), NOW) == RetryLater(1, 1)


def test_a_dead_letter_says_why(patient: Any) -> None:
    try:
        raise ValueError("y" * 20_000)
    except ValueError as error:
        message = dead_message(patient, failed_before(4), GiveUp(Reason.EXHAUSTED), error, NOW)

    headers = message.properties["application_headers"]
    assert (message.exchange, message.routing_key) == ("events.dead", "parcel.patient")
    assert (headers["x-dead-reason"], headers["x-consumer"], headers["x-attempt"]) == ("exhausted", "parcel.patient", 4)
    assert headers["x-error-class"] == "builtins.ValueError"
    assert len(headers["x-error-message"]) == len(headers["x-traceback"]) == MAX_HEADER_CHARS
