"""What a failure says about what its handler needs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError

from eventbus.broker.publisher import Blocked, Unconfirmed
from eventbus.declaration import CONSUMERS, Retry, consumer
from eventbus.errors import PermanentFailure, RetryAfter
from eventbus.retries import writing
from eventbus.retries.models import WaitingRetry
from eventbus.testing.bus import on_the_wire
from eventbus.tests.samples import ParcelSent
from eventbus.worker import processing
from eventbus.worker.delivery import Delivery
from eventbus.worker.processing import Failed, Postponed, Settled, Unsettled, run_one

pytestmark = pytest.mark.django_db(transaction=True)

# What the fixture below replaces.
send_for_real = processing._send

LONG_AGO = {"x-attempt": 2, "x-first-failed-at": (datetime.now(UTC) - timedelta(days=1)).isoformat()}


@pytest.fixture(autouse=True)
def broker_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "_send", lambda *messages: True)


def failed(error: Exception, headers: dict[str, object] | None = None) -> Failed:
    """What becomes of an event whose handler raises this."""

    def fail(event: ParcelSent) -> None:
        raise error

    declared = consumer("parcel.failing", on=[ParcelSent], retry=Retry(max_age=3600))(fail)
    try:
        with pytest.raises(Failed) as caught:
            run_one(declared, Delivery(on_the_wire(ParcelSent(parcel_id="p")), headers or {}))
    finally:
        del CONSUMERS[declared.name]
    return caught.value


@pytest.mark.parametrize("headers", [{}, LONG_AGO], ids=["postponed", "given up"])
@pytest.mark.parametrize(
    ("error", "may_be_outage"),
    [
        (lambda: ConnectionError("away"), True),
        (lambda: RetryAfter(60, "not this one, not now"), False),
        (lambda: PermanentFailure("never"), False),
    ],
)
def test_what_a_handler_says_of_one_event_is_no_outage(
    error: Callable[[], Exception], may_be_outage: bool, headers: dict[str, object]
) -> None:
    found = failed(error(), headers)
    assert isinstance(found, Settled)
    assert found.may_be_outage is may_be_outage


def test_a_failure_is_a_row_with_the_attempt_to_come() -> None:
    assert isinstance(failed(ValueError("no")), Postponed)
    (row,) = WaitingRetry.objects.all()
    assert (row.consumer, row.attempt, row.event_type, row.aggregate_id) == ("parcel.failing", 2, "parcel.sent", "p")
    assert row.last_error == "ValueError: no"
    assert 1 <= (row.due_at - row.created_at).total_seconds() <= 1.3


@pytest.mark.parametrize("error", [InterfaceError("gone"), OperationalError("gone")])
def test_in_an_outage_of_the_database_nothing_is_noted_and_the_delivery_is_kept(error: Exception) -> None:
    found = failed(error)
    assert isinstance(found, Unsettled)
    assert found.may_be_outage
    assert not WaitingRetry.objects.exists()


def test_a_failure_that_cannot_be_noted_leaves_the_delivery_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DatabaseError("no such table")

    monkeypatch.setattr(writing, "write", refuse)
    found = failed(ValueError("no"))
    assert isinstance(found, Unsettled)
    assert found.may_be_outage


def test_a_dead_letter_that_the_broker_does_not_confirm_is_no_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object) -> bool:
        raise Unconfirmed("no answer")

    monkeypatch.setattr(processing, "_send", hang)
    found = failed(PermanentFailure("never"))
    assert isinstance(found, Unsettled)
    assert not found.may_be_outage


def test_a_dead_letter_that_its_queue_refuses_comes_again_in_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "_send", lambda *messages: False)
    assert isinstance(failed(PermanentFailure("never")), Postponed)
    (row,) = WaitingRetry.objects.all()
    assert row.attempt == 1


def test_a_dead_letter_of_a_broker_in_alarm_waits_as_a_row_and_keeps_no_consumer_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class InAlarm:
        asked = 0

        def send(self, window: object) -> set[int]:
            self.asked += 1
            raise Blocked("The broker is in alarm: low on memory")

    publisher = InAlarm()
    monkeypatch.setattr(processing, "_send", send_for_real)
    monkeypatch.setattr(processing, "_publisher", lambda: publisher)
    assert isinstance(failed(PermanentFailure("never")), Postponed)
    assert [row.attempt for row in WaitingRetry.objects.all()] == [1]
    assert publisher.asked == 1
