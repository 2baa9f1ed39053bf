"""What a failure says about what its handler needs."""

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError

from eventbus.broker.publisher import Unconfirmed
from eventbus.declaration import CONSUMERS, Retry, consumer
from eventbus.errors import PermanentFailure, RetryAfter
from eventbus.retries import writing
from eventbus.retries.models import WaitingRetry
from eventbus.testing.bus import on_the_wire
from eventbus.tests.samples import ParcelSent
from eventbus.worker import processing
from eventbus.worker.delivery import Delivery
from eventbus.worker.models import ProcessedEvent
from eventbus.worker.processing import Failed, Postponed, Settled, Stopped, Unsettled, run_one, run_outside
from eventbus.worker.turns import turns

pytestmark = pytest.mark.django_db(transaction=True)

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


def outside(parcels: str, *, pipe: int | None = None) -> tuple[list[str], Stopped | None]:
    """Run these as one run of outside effects, x is one that fails; returns which were called, and where it stopped."""
    called: list[str] = []

    def call(event: ParcelSent) -> None:
        called.append(event.parcel_id)
        if event.parcel_id == "x":
            raise ConnectionError("away")

    declared = consumer("parcel.calling", on=[ParcelSent], side_effects=True)(call)
    deliveries = [Delivery(on_the_wire(ParcelSent(parcel_id=each))) for each in parcels]
    try:
        assert run_outside(declared, deliveries, pipe) == len(parcels)
    except Stopped as stopped:
        return called, stopped
    finally:
        del CONSUMERS[declared.name]
    return called, None


def test_a_run_of_outside_effects_handles_one_after_the_other() -> None:
    assert outside("abc") == (["a", "b", "c"], None)


def test_a_run_of_outside_effects_stops_at_the_first_that_fails_and_keeps_what_is_done() -> None:
    called, stopped = outside("abxcd")
    assert called == ["a", "b", "x"]
    assert stopped is not None
    assert stopped.done == 2
    assert isinstance(stopped.failure, Postponed)
    assert ProcessedEvent.objects.filter(consumer="parcel.calling", outcome="done").count() == 2
    assert WaitingRetry.objects.count() == 1


def test_a_run_of_outside_effects_begins_with_none_that_would_have_too_little_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processing, "BEGINS_WITHIN", 0)
    called, stopped = outside("abc")
    assert called == ["a"]
    assert stopped is not None
    assert (stopped.done, stopped.failure) == (1, None)


def test_a_run_of_outside_effects_begins_with_none_whose_turn_was_taken_back() -> None:
    turns.open(1)
    run = object()
    pipe = turns.lend(run, 2)
    turns.take_back(run)
    called, stopped = outside("abc", pipe=pipe)
    turns.end(run)
    assert called == ["a"]
    assert stopped is not None
    assert (stopped.done, stopped.failure) == (1, None)


def test_where_a_run_stopped_survives_the_way_out_of_the_pool() -> None:
    sent = pickle.loads(pickle.dumps(Stopped(3, Postponed("away", may_be_outage=True))))
    assert (sent.done, str(sent.failure), sent.failure.may_be_outage) == (3, "away", True)
