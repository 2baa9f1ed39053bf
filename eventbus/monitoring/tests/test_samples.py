"""Samples: what each consumer did in ten seconds, counted where the inbox has grown."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.db import connection

from eventbus.broker.connection import BROKER_ERRORS
from eventbus.db.sql import fetch
from eventbus.ids import new_id
from eventbus.metrics import totals
from eventbus.metrics.catalogue import AGE, DEAD, PROCESSED, RECORDED
from eventbus.metrics.declaration import INFINITE, SUM
from eventbus.monitoring import samples
from eventbus.monitoring.models import Sample, Sampling
from eventbus.monitoring.samples import COARSE, EVERY, OUTBOX, take_if_due
from eventbus.monitoring.status import BusStatus, QueueStatus
from eventbus.tests.builders import declare, handled, happened
from eventbus.tests.samples import track
from eventbus.worker import inbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def due_at_once(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    """The broker tells of one queue, no sample was taken yet, and it is always time."""
    Sampling.objects.all().delete()
    queues = [QueueStatus(track.name, ready=3, consumers=2, dead=0)]
    monkeypatch.setattr(samples, "bus_status_or_error", lambda: (BusStatus(0, 0.0, 1, queues), ""))
    monkeypatch.setattr(samples, "DUE_AFTER", 0)


def of(consumer: str) -> Sample:
    return Sample.objects.filter(consumer=consumer).latest("at")


@contextmanager
def another_session() -> Iterator[psycopg.Connection]:
    """A connection with a transaction of its own."""
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.ClientCursor}) as other:
        yield other


def begin() -> None:
    """The first look only notes how large the inbox is."""
    assert not take_if_due()
    assert take_if_due()


def test_a_sample_has_what_was_done_and_what_waits() -> None:
    handled(happened(2))
    begin()
    handled(happened(5))
    assert take_if_due()
    found = of(track.name)
    assert (found.done, found.ready, found.workers, found.dead) == (5, 3, 2, 0)
    assert found.age_p95 is not None
    assert 0 <= found.age_p50 <= found.age_p95 < 60  # type: ignore[operator]


def test_nothing_is_counted_twice() -> None:
    begin()
    handled(happened(5))
    assert take_if_due()
    assert take_if_due()
    assert [each.done for each in Sample.objects.filter(consumer=track.name).order_by("at")] == [0, 5, 0]


def test_what_took_long_counts_when_it_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "SLACK_PAGES", 0)
    ids = happened(2_001)
    begin()
    with another_session() as other:
        other.execute(inbox.CLAIM, [track.name, ids[:1], [1], [None]])
        handled(ids[1:])
        assert take_if_due()
        other.commit()
    assert take_if_due()
    assert take_if_due()
    assert [each.done for each in Sample.objects.filter(consumer=track.name).order_by("at")] == [0, 2_000, 1, 0]
    assert totals.read()[PROCESSED.key([track.name])] == 2_001


def test_an_event_that_is_committed_late_counts_when_it_is() -> None:
    begin()
    with another_session() as other:
        columns = "id, type, version, aggregate_type, aggregate_id, sequence, occurred_at, correlation_id, data"
        values = "%s, 'parcel.sent', '1.0', 'parcel', 'p', 1, now(), 'c', '{}'"
        other.execute(f"INSERT INTO event ({columns}) VALUES ({values})", [new_id()])
        assert take_if_due()
        other.commit()
    assert take_if_due()
    assert take_if_due()
    assert [each.done for each in Sample.objects.filter(consumer=OUTBOX).order_by("at")] == [0, 0, 1, 0]


def test_totals_have_every_event_by_its_age() -> None:
    begin()
    handled(happened(4))
    take_if_due()
    handled(happened(1))
    take_if_due()
    found = totals.read()
    assert found[RECORDED.key(["parcel.sent"])] == 5
    assert found[AGE.key([track.name], INFINITE)] == found[AGE.key([track.name], "1800.0")] == 5
    assert 0 <= found[AGE.key([track.name], SUM)] < 60
    assert found[DEAD.key([track.name])] == 0


def test_it_is_one_watchers_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert [take_if_due(), take_if_due()] == [False, False], "it has just begun"


def test_what_was_given_up_and_what_took_several_attempts_is_told_apart() -> None:
    begin()
    ids = happened(3)
    handled(ids)
    fetch("UPDATE processed_event SET attempts = 3 WHERE event_id = %s", [ids[0]])
    fetch("UPDATE processed_event SET outcome = 'dead' WHERE event_id = %s", [ids[1]])
    take_if_due()
    assert (of(track.name).done, of(track.name).retried, of(track.name).dead) == (2, 1, 1)


def test_what_is_replayed_says_nothing_of_the_age() -> None:
    begin()
    handled(happened(1))
    old = "01000000-0000-7000-8000-000000000000"
    fetch("INSERT INTO processed_event (event_id, consumer) VALUES (%s, %s)", [old, track.name])
    take_if_due()
    assert of(track.name).done == 2
    assert (of(track.name).age_p95 or 0) < 60


def test_the_outbox_has_a_sample_of_its_own() -> None:
    begin()
    happened(4)
    take_if_due()
    assert of(OUTBOX).done == 4


def test_while_the_broker_is_away_only_what_it_knows_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    begin()
    handled(happened(1))
    monkeypatch.setattr(samples, "bus_status_or_error", lambda: (None, f"{BROKER_ERRORS[0].__name__}: away"))
    take_if_due()
    assert (of(track.name).ready, of(track.name).done) == (None, 1)


def test_a_consumer_that_did_nothing_has_done_nothing() -> None:
    declare("parcel.idle")
    begin()
    take_if_due()
    assert of("parcel.idle").done == 0


def test_old_samples_are_put_together_and_dropped() -> None:
    begin()
    Sample.objects.all().delete()
    now = datetime.now(UTC)
    bucket = datetime.fromtimestamp(now.timestamp() // COARSE * COARSE, UTC)
    for number in range(3):
        at = bucket - timedelta(seconds=10 * number)
        Sample.objects.create(at=at, seconds=EVERY, consumer="a.b", done=2, ready=number, age_p95=number)
    Sample.objects.create(at=now - timedelta(days=2), seconds=EVERY, consumer="a.b", done=1)
    Sample.objects.create(at=now - timedelta(days=20), seconds=COARSE, consumer="a.b", done=1)
    Sampling.objects.update(taken_at=bucket - timedelta(seconds=EVERY))
    take_if_due()
    (coarse,) = Sample.objects.filter(seconds=COARSE)
    assert (coarse.at, coarse.done, coarse.ready, coarse.age_p95) == (bucket, 6, 2, 2.0)
    assert not Sample.objects.filter(at__lt=now - timedelta(days=1)).exists()
