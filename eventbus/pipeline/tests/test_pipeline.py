"""What pages about the pipeline show."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventbus.db.clock import database_time
from eventbus.db.sql import fetch
from eventbus.dead_letters.models import DeadLetterReplay
from eventbus.errors import Reason
from eventbus.monitoring.models import Alarm, AlarmChange, Sample
from eventbus.monitoring.samples import COARSE, EVERY, OUTBOX
from eventbus.pipeline import (
    FIRING_ALARMS,
    OPEN_DEAD_LETTERS,
    WINDOWS,
    alarms_now,
    consumer_in_full,
    hurry_retry,
    pipeline_now,
    replay_letter,
)
from eventbus.pipeline.letters import ADVICE
from eventbus.subscriptions.noting import note_subscriptions
from eventbus.tests.builders import dead_letter, waiting_retry
from eventbus.tests.samples import track

pytestmark = pytest.mark.django_db


def sample(ago: float = 5, consumer: str = track.name, seconds: int = EVERY, **measured: Any) -> None:
    at = database_time() - timedelta(seconds=ago)
    Sample.objects.create(at=at, seconds=seconds, consumer=consumer, **measured)


def now_of(name: str = track.name) -> Any:
    return next(each for each in pipeline_now().consumers if each.name == name)


def test_without_samples_nothing_is_known() -> None:
    found = pipeline_now()
    assert (found.is_fresh, found.broker, found.recorded_rate) == (False, None, None)
    assert (now_of().ready, now_of().rate, now_of().workers) == (None, None, None)


def test_the_newest_sample_says_how_it_is_now() -> None:
    sample(65, ready=99, workers=1, done=10, age_p95=9.0)
    sample(5, ready=7, workers=2, done=50, age_p95=0.2)
    sample(5, OUTBOX, ready=0, done=120)
    found = pipeline_now()
    assert (found.is_fresh, found.broker, found.recorded_rate) == (True, True, 12.0)
    assert (now_of().ready, now_of().workers, now_of().rate, now_of().curve.age_p95) == (7, 2, 5.0, 0.2)
    assert [point.done for point in now_of().curve.points[-2:]] == [10, 50]
    assert len(now_of().curve.points) == 60


def test_an_old_sample_says_nothing_of_now() -> None:
    sample(120, ready=7, workers=2, done=50)
    assert (pipeline_now().is_fresh, now_of().ready) == (False, None)


def test_a_broker_that_did_not_answer_is_told_apart_from_no_sample() -> None:
    sample(5, ready=None, workers=None, done=0)
    assert pipeline_now().broker is False


def test_a_day_is_read_from_the_coarse_samples() -> None:
    sample(7_200, seconds=COARSE, done=600, ready=1)
    curve = next(each.curve for each in pipeline_now("24h").consumers if each.name == track.name)
    assert sum(point.done for point in curve.points) == 600


@pytest.mark.parametrize("window", WINDOWS)
def test_every_window_has_its_points(window: str) -> None:
    pipeline_now(window)


def test_the_worst_comes_first() -> None:
    sample(5, ready=0, workers=1, done=0)
    assert now_of().trouble == 0
    dead_letter()
    assert (now_of().trouble, now_of().dead) == (1, 1)
    Sample.objects.update(workers=0)
    assert now_of().trouble == 2
    Alarm.objects.create(
        name="worker_missing",
        subject=track.name,
        state="firing",
        since=datetime.now(UTC),
        evaluated_at=datetime.now(UTC),
    )
    assert now_of().trouble == 3
    assert now_of().alarms[0].advice
    assert fetch(f"SELECT {OPEN_DEAD_LETTERS}, {FIRING_ALARMS}") == [(1, 1)]


def test_a_consumer_is_told_with_what_waits_and_what_it_gave_up() -> None:
    note_subscriptions()
    waiting_retry(after=60)
    dead_letter()
    sample(5, ready=3, workers=1, done=20, dead=1)
    found = consumer_in_full(track.name)
    assert found is not None
    assert (found.handled, found.given_up, found.is_fresh) == (20, 1, True)
    assert [binding.event_type for binding in found.bindings] == ["parcel.sent"]
    assert [group.opened for group in found.groups] == [1]
    assert len(found.retries) == 1


def test_what_no_consumer_is_called_is_nothing() -> None:
    assert consumer_in_full("parcel.nobody") is None


def test_one_letter_is_replayed_once_and_one_retry_hurried_once() -> None:
    letter, retry = dead_letter(), waiting_retry(after=60)
    assert [replay_letter(letter.pk, by="ada"), replay_letter(letter.pk, by="ada")] == [True, False]
    assert DeadLetterReplay.objects.get().created_by == "ada"
    assert [hurry_retry(retry.pk, by="ada"), hurry_retry(retry.pk, by="ada")] == [True, False]


def test_the_pages_ask_little(django_assert_max_num_queries: Any) -> None:
    note_subscriptions()
    sample(5, ready=0, workers=1, done=0)
    with django_assert_max_num_queries(7):
        pipeline_now()
    with django_assert_max_num_queries(7):
        consumer_in_full(track.name)


def test_every_reason_has_its_advice() -> None:
    assert set(ADVICE) == set(Reason)


def test_alarms_say_when_they_fired() -> None:
    now = database_time()
    Alarm.objects.create(name="relay_missing", subject="", state="firing", since=now, evaluated_at=now)
    for days, state in ((20, "firing"), (10, "ok"), (5, "firing"), (4, "ok"), (1, "firing")):
        AlarmChange.objects.create(name="relay_missing", state=state, value=1, changed_at=now - timedelta(days=days))
    _, (alarm,) = alarms_now()
    fired = [tuple(round((now - end).total_seconds() / 86_400) for end in stretch) for stretch in alarm.fired]
    assert fired == [(14, 10), (5, 4), (1, 0)]
    assert alarm.advice
