import pickle

import pytest

from eventbus.declaration import CONSUMERS, consumer
from eventbus.retries.models import WaitingRetry
from eventbus.testing.bus import on_the_wire
from eventbus.tests.samples import ParcelSent
from eventbus.worker import outside
from eventbus.worker.delivery import Delivery
from eventbus.worker.models import ProcessedEvent
from eventbus.worker.outside import Stopped, run_outside
from eventbus.worker.processing import Postponed
from eventbus.worker.turns import turns

pytestmark = pytest.mark.django_db(transaction=True)


def call_each(parcels: str, *, pipe: int | None = None) -> tuple[list[str], Stopped | None]:
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
    assert call_each("abc") == (["a", "b", "c"], None)


def test_a_run_of_outside_effects_stops_at_the_first_that_fails_and_keeps_what_is_done() -> None:
    called, stopped = call_each("abxcd")
    assert called == ["a", "b", "x"]
    assert stopped is not None
    assert stopped.done == 2
    assert isinstance(stopped.failure, Postponed)
    assert ProcessedEvent.objects.filter(consumer="parcel.calling", outcome="done").count() == 2
    assert WaitingRetry.objects.count() == 1


def test_a_run_of_outside_effects_begins_with_none_that_would_have_too_little_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outside, "BEGINS_WITHIN", 0)
    called, stopped = call_each("abc")
    assert called == ["a"]
    assert stopped is not None
    assert (stopped.done, stopped.failure) == (1, None)


def test_a_run_of_outside_effects_begins_with_none_whose_turn_was_taken_back() -> None:
    turns.open(1)
    run = object()
    pipe = turns.lend(run, 2)
    turns.take_back(run)
    called, stopped = call_each("abc", pipe=pipe)
    turns.end(run)
    assert called == ["a"]
    assert stopped is not None
    assert (stopped.done, stopped.failure) == (1, None)


def test_where_a_run_stopped_survives_the_way_out_of_the_pool() -> None:
    sent = pickle.loads(pickle.dumps(Stopped(3, Postponed("away", may_be_outage=True))))
    assert (sent.done, str(sent.failure), sent.failure.may_be_outage) == (3, "away", True)
