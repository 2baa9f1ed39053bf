"""Order per aggregate: whatever comes late, twice, at once or not at all, a consumer sees 1, 2, 3 …"""

import random
import threading
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from django.db import connection, transaction
from pytest_django import DjangoAssertNumQueries

from eventbus.archive.models import ArchivedEvent as Archived
from eventbus.contracts.event import Event
from eventbus.contracts.registry import CONTRACTS
from eventbus.declaration import CONSUMERS, Consumer, Retry, consumer
from eventbus.errors import InvalidEvent
from eventbus.ids import new_id
from eventbus.recording.publish import publish
from eventbus.testing.bus import deliver, delivered, from_archive, recorded
from eventbus.worker import inbox
from eventbus.worker.delivery import Delivery
from eventbus.worker.failures import RetryLater, decide
from eventbus.worker.models import OrderedPosition, ProcessedEvent
from eventbus.worker.ordering import BlockedByEarlier

seen: list[tuple[str, int]] = []
broken: set[int] = set()

# As in samples: the real registries are put back.
with patch.dict(CONTRACTS), patch.dict(CONSUMERS):

    class CoachMoved(Event, type="coach.moved", version="1.0", aggregate="coach_id"):
        """A coach of a train went one station further."""

        coach_id: str
        station: int

    class CoachCleaned(Event, type="coach.cleaned", version="1.0", aggregate="coach_id"):
        """Nobody here listens to it: a gap in the numbers that is not a loss."""

        coach_id: str

    @consumer("coachtest.follow", on=[CoachMoved], ordered=True, retry=Retry(times=2))
    def follow(event: CoachMoved) -> None:
        if event.station in broken:
            raise ValueError(f"station {event.station} is closed")
        seen.append((event.coach_id.split(".")[0], event.station))


@pytest.fixture(autouse=True)
def coaches() -> Iterator[None]:
    seen.clear()
    broken.clear()
    with patch.dict(CONTRACTS, {(each.type, "1"): each for each in (CoachMoved, CoachCleaned)}):
        yield


def moved(coach: str, stations: int) -> list[CoachMoved]:
    """Published events of a new coach, as they would be delivered, with cleanings in between.

    The archive keeps what other tests put there, so the coach's id gets a tail that nobody had.
    """
    coach_id = f"{coach}.{new_id()}"
    for station in range(1, stations + 1):
        with transaction.atomic():
            publish(CoachMoved(coach_id=coach_id, station=station), CoachCleaned(coach_id=coach_id))
    return as_delivered(coach_id)


def as_delivered(coach: str) -> list[CoachMoved]:
    rows = Archived.objects.filter(aggregate_id=coach, type="coach.moved").order_by("sequence")
    found = [from_archive(row) for row in rows]
    return [event for event in found if isinstance(event, CoachMoved)]


def outcomes(events: list[CoachMoved]) -> list[str]:
    rows = dict(ProcessedEvent.objects.filter(consumer=follow.name).values_list("event_id", "outcome"))
    return [rows.get(event.envelope.event_id, "-") for event in events]


def die(event: CoachMoved) -> None:
    inbox.mark_dead(follow, event.envelope.event_id, 3)


@pytest.mark.django_db(transaction=True)
def test_an_event_that_overtook_others_brings_them_along() -> None:
    events = moved("c1", 4)
    assert deliver(events[3], to=follow) == 4
    assert seen == [("c1", station) for station in (1, 2, 3, 4)]
    assert [deliver(event, to=follow) for event in events] == [0, 0, 0, 0]
    assert len(seen) == 4


@pytest.mark.django_db(transaction=True)
def test_what_arrives_under_the_id_of_an_archived_event_is_not_taken_for_it() -> None:
    first, second = moved("c1", 2)
    forged = delivered(CoachMoved(coach_id=first.coach_id, station=9), event_id=first.envelope.event_id)
    with pytest.raises(InvalidEvent, match="another payload"):
        deliver(forged, to=follow)
    assert deliver(second, to=follow) == 2


@pytest.mark.django_db
def test_a_test_shows_order_with_events_that_it_records() -> None:
    coach = f"c1.{new_id()}"
    first, second = recorded(CoachMoved(coach_id=coach, station=1), CoachMoved(coach_id=coach, station=2))
    assert deliver(second, to=follow) == 2
    assert deliver(first, to=follow) == 0
    assert seen == [("c1", 1), ("c1", 2)]


@pytest.mark.django_db(transaction=True)
def test_a_shuffled_batch_of_several_aggregates_is_handled_in_order() -> None:
    events = [event for coach in ("c1", "c2", "c3") for event in moved(coach, 5)]
    random.Random(7).shuffle(events)
    for start in range(0, len(events), 4):
        deliver(events[start : start + 4], to=follow)
    for coach in ("c1", "c2", "c3"):
        assert [station for name, station in seen if name == coach] == [1, 2, 3, 4, 5]


@pytest.mark.django_db(transaction=True)
def test_an_earlier_event_that_fails_is_not_blamed_on_the_one_delivered() -> None:
    events = moved("c1", 3)
    broken.add(2)
    with pytest.raises(BlockedByEarlier) as failure:
        deliver(events[2], to=follow)
    now = events[2].envelope.occurred_at
    assert decide(follow, failure.value, Delivery(b"", {"x-attempt": 2}), now) == RetryLater(1, 2)
    assert outcomes(events) == ["-", "-", "-"], "nothing of the run is kept"
    with pytest.raises(ValueError, match="station 2"):
        deliver(events[1], to=follow)


@pytest.mark.django_db(transaction=True)
def test_later_events_wait_behind_a_dead_letter_and_its_replay_releases_them() -> None:
    events = moved("c1", 4)
    deliver(events[0], to=follow)
    die(events[1])
    assert deliver(events[3], to=follow) == 0
    assert deliver(events[2], to=follow) == 0
    assert outcomes(events) == ["done", "dead", "waiting", "waiting"]
    assert seen == [("c1", 1)]
    assert deliver(events[1], to=follow) == 3
    assert seen == [("c1", station) for station in (1, 2, 3, 4)]
    assert outcomes(events) == ["done"] * 4


@pytest.mark.django_db(transaction=True)
def test_other_aggregates_do_not_wait_behind_a_dead_letter() -> None:
    die(moved("c1", 1)[0])
    assert deliver(moved("c2", 2), to=follow) == 2


@pytest.mark.django_db(transaction=True)
def test_a_discarded_dead_letter_holds_nobody_up() -> None:
    events = moved("c1", 3)
    die(events[0])
    deliver(events[1], to=follow)
    ProcessedEvent.objects.filter(event_id=events[0].envelope.event_id).update(outcome="discarded")
    deliver(events[2], to=follow)
    assert seen == [("c1", 2), ("c1", 3)]


@pytest.mark.django_db(transaction=True)
def test_threads_that_deliver_in_any_order_and_twice_keep_the_order() -> None:
    events = [event for coach in ("c1", "c2") for event in moved(coach, 20)] * 2
    random.Random(3).shuffle(events)
    failures: list[Exception] = []

    def work(part: list[CoachMoved]) -> None:
        try:
            for event in part:
                inbox.process(follow, [inbox.Arrival(event)])
        except Exception as error:  # noqa: BLE001  the test reports it
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(events[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    for coach in ("c1", "c2"):
        assert [station for name, station in seen if name == coach] == list(range(1, 21))
    assert set(OrderedPosition.objects.values_list("sequence", flat=True)) == {39}


@pytest.mark.django_db(transaction=True)
def test_the_number_of_statements_does_not_grow_with_the_batch(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    small, large = moved("c1", 2), moved("c2", 30)
    with django_assert_num_queries(8):
        deliver(small, to=follow)
    with django_assert_num_queries(8):
        deliver(large, to=follow)


def test_a_declaration_that_cannot_keep_order_is_refused() -> None:
    with pytest.raises(ValueError, match="one event at a time"):
        consumer("coachtest.wrong", on=[CoachMoved], ordered=True, batched=True)(lambda events: None)
    with pytest.raises(ValueError, match="one event at a time"):
        consumer("coachtest.wrong", on=[CoachMoved], ordered=True, side_effects=True)(lambda event: None)
    assert isinstance(follow, Consumer)
