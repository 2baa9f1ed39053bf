"""Months leave archive and inbox together, or stay."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Event as Signal
from threading import Thread
from time import monotonic
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from eventbus.archive import history, retention
from eventbus.archive.models import ArchivedEvent, PrunedMonth, StreamCut
from eventbus.archive.partitions import create_partitions, month_start, months, strays
from eventbus.conf import bus_settings
from eventbus.db import ddl
from eventbus.dead_letters.models import DeadLetter, DeadLetterState
from eventbus.ids import first_id_at
from eventbus.monitoring.bus_invariants import gaps_in_streams, unhandled_events
from eventbus.monitoring.upkeep import prune_archive
from eventbus.recording.publish import publish
from eventbus.relay.models import Outbox
from eventbus.testing import wait_until
from eventbus.testing.bus import deliver, from_archive, prune_this_month
from eventbus.tests.builders import archive_replay, dead_letter, handled, publish_at
from eventbus.tests.samples import ParcelSent, track, track_all
from eventbus.worker.models import ProcessedEvent

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)
THIS_MONTH = month_start(NOW)


@pytest.fixture
def event() -> ArchivedEvent:
    """An archived event that the relay has published and its consumer handled."""
    with transaction.atomic():
        (event_id,) = publish(ParcelSent(parcel_id=f"p-{uuid4()}"))
    archived = ArchivedEvent.objects.get(pk=event_id)
    deliver(from_archive(archived), to=track)
    Outbox.objects.all().delete()
    return archived


@pytest.fixture
def later(settings: Any) -> datetime:
    """The moment when this month's time is over."""
    return month_start(NOW, 1) + timedelta(days=bus_settings.ARCHIVE_DAYS)


def prune(now: datetime) -> list[retention.Month]:
    return list(retention.prune(now))


def test_a_month_goes_with_its_inbox_when_all_of_it_is_old_enough(event: ArchivedEvent, later: datetime) -> None:
    assert prune(later - timedelta(seconds=1)) == []
    assert ArchivedEvent.objects.filter(pk=event.pk).exists()

    (month,) = prune(later)
    assert (str(month), month.events, month.kept_because) == (f"{NOW:%Y-%m}", 2, [])
    assert not ArchivedEvent.objects.exists()
    assert not ProcessedEvent.objects.exists()
    assert THIS_MONTH not in months()
    assert prune(later) == []


def test_the_archive_knows_since_when_it_is_whole(event: ArchivedEvent, later: datetime) -> None:
    assert history.archive_begins() is None
    prune(later)
    assert history.archive_begins() == month_start(NOW, 1)
    assert PrunedMonth.objects.get().events == 2


def test_the_oldest_month_goes_first_and_the_first_that_stays_ends_it(event: ArchivedEvent, later: datetime) -> None:
    before = month_start(NOW, -2)
    create_partitions([before])
    Outbox.objects.create(event_id=first_id_at(before), aggregate_id="p")
    assert [str(month) for month in prune(later)] == [f"{before:%Y-%m}"]
    assert THIS_MONTH in months()

    Outbox.objects.all().delete()
    assert [str(month) for month in prune(later)] == [f"{before:%Y-%m}", f"{NOW:%Y-%m}"]


def in_the_outbox(event: ArchivedEvent) -> None:
    Outbox.objects.create(event_id=event.pk, aggregate_id=event.aggregate_id)


def open_letter(event: ArchivedEvent) -> None:
    DeadLetter.objects.filter(pk=dead_letter().pk).update(event_id=event.pk)


def replaying_letter(event: ArchivedEvent) -> None:
    DeadLetter.objects.filter(pk=dead_letter().pk).update(event_id=event.pk, state=DeadLetterState.REPLAYING)


def unfinished_replay(event: ArchivedEvent) -> None:
    assert archive_replay(to=track_all) is not None


def waiting_row(event: ArchivedEvent) -> None:
    ProcessedEvent.objects.filter(event_id=event.pk).update(outcome="waiting")


@pytest.mark.parametrize(
    ("block", "because"),
    [
        (in_the_outbox, "1 events in the outbox"),
        (open_letter, "1 open dead letters"),
        (replaying_letter, "1 open dead letters"),
        (unfinished_replay, "1 replays that are not done"),
        (waiting_row, "1 events that wait behind a dead letter"),
    ],
)
def test_a_month_that_somebody_still_needs_stays(
    block: Any, because: str, event: ArchivedEvent, later: datetime
) -> None:
    block(event)
    (month,) = prune(later)
    assert because in month.kept_because[0]
    assert ArchivedEvent.objects.filter(pk=event.pk).exists()
    assert ProcessedEvent.objects.filter(event_id=event.pk).exists()
    assert not PrunedMonth.objects.exists()


def test_what_comes_into_the_month_while_it_is_prepared_keeps_it(event: ArchivedEvent, later: datetime) -> None:
    with patch.object(retention, "preparations", [lambda *_: in_the_outbox(event)]):
        (month,) = prune(later)
    assert "in the outbox" in month.kept_because[0]
    assert ArchivedEvent.objects.filter(pk=event.pk).exists()
    with connection.cursor() as cursor, pytest.raises(Exception, match="permission denied"), transaction.atomic():
        cursor.execute(f"UPDATE event_{NOW:%Y_%m} SET type = 'x'")


def test_apps_prepare_for_each_month_and_keep_it_where_they_fail(event: ArchivedEvent, later: datetime) -> None:
    seen: list[tuple[datetime, UUID, int]] = []
    with patch.object(retention, "preparations", []):

        @retention.before_pruning
        def note(end: datetime, first_id: UUID) -> None:
            seen.append((end, first_id, ArchivedEvent.objects.filter(id__lt=first_id).count()))
            if len(seen) == 1:
                raise ValueError("no room for snapshots")

        with pytest.raises(ValueError, match="no room"):
            prune(later)
        assert THIS_MONTH in months()
        prune(later)
    end = month_start(NOW, 1)
    assert seen == [(end, first_id_at(end), 2)] * 2


def test_streams_go_on_behind_what_was_pruned(event: ArchivedEvent) -> None:
    prune_this_month()
    cut = StreamCut.objects.get(aggregate_type="parcel", aggregate_id=event.aggregate_id)
    assert cut.sequence == 2  # sent and tracked
    assert gaps(event) == []
    publish(ParcelSent(parcel_id=event.aggregate_id))
    assert gaps(event) == []

    # An event that was numbered before the last one of the month, by a clock that was ahead, is not a gap either.
    archived(event, sequence=1)
    assert gaps(event) == []
    archived(event, sequence=5)
    assert len(gaps(event)) == 1


def gaps(event: ArchivedEvent) -> list[str]:
    return [line for line in gaps_in_streams() if event.aggregate_id in line]


def archived(event: ArchivedEvent, *, sequence: int) -> None:
    ArchivedEvent.objects.create(
        id=uuid4(), type="parcel.sent", version="1.0", aggregate_type="parcel", aggregate_id=event.aggregate_id,
        sequence=sequence, occurred_at=NOW, correlation_id="c", data={},
    )  # fmt: skip


def test_nothing_is_missing_from_the_inbox_after_pruning(event: ArchivedEvent) -> None:
    prune_this_month()
    assert [line for line in unhandled_events() if str(event.pk) in line] == []


def test_days_to_keep_that_would_drop_everything_are_refused(settings: Any) -> None:
    settings.EVENTBUS_ARCHIVE_DAYS = 0
    with pytest.raises(ImproperlyConfigured, match="for a day at least"):
        retention.due()


class TestCommand:
    """`manage.py prune_archive`; the month that is over is made over by a short time to keep."""

    @pytest.fixture
    def old(self, settings: Any) -> datetime:
        settings.EVENTBUS_ARCHIVE_DAYS = 1
        return month_start(NOW, -2)

    @pytest.fixture
    def old_event(self, old: datetime) -> UUID:
        create_partitions([old])
        event_id = UUID(int=first_id_at(old).int | 1)
        publish_at(event_id)
        return event_id

    def test_it_says_what_it_would_do_and_does_it(self, old: datetime, old_event: UUID, capsys: Any) -> None:
        default = publish_at(uuid4())
        call_command("prune_archive", "--dry-run", "--json")
        report = json.loads(capsys.readouterr().out)
        assert report["months"] == [{"month": f"{old:%Y-%m}", "events": 1, "keptBecause": []}]
        assert (report["dryRun"], report["begins"], report["withoutMonth"]) == (True, None, 1)
        assert ArchivedEvent.objects.filter(pk=old_event).exists()

        call_command("prune_archive", "--json")
        report = json.loads(capsys.readouterr().out)
        assert report["begins"] == month_start(old, 1).isoformat()
        assert not ArchivedEvent.objects.filter(pk=old_event).exists()
        assert ArchivedEvent.objects.filter(pk=default).exists()

        call_command("prune_archive")
        out = capsys.readouterr().out
        assert "Nothing is older than 1 days." in out
        assert "1 event is of no month yet" in out

    def test_what_is_of_no_month_goes_when_it_happened_so_long_ago(self, settings: Any) -> None:
        settings.EVENTBUS_ARCHIVE_DAYS = 10
        stray = publish_at(uuid4())
        handled([stray])
        Outbox.objects.create(event_id=stray, aggregate_id="p")
        prune(NOW + timedelta(days=11))
        assert ArchivedEvent.objects.filter(pk=stray).exists()

        Outbox.objects.all().delete()
        prune(NOW + timedelta(days=9))
        assert ArchivedEvent.objects.filter(pk=stray).exists()
        prune(NOW + timedelta(days=11))
        assert strays() == []
        assert StreamCut.objects.filter(aggregate_id=str(stray), sequence=1).exists()

    def test_a_stray_of_a_month_that_is_gone_goes_after_it(self, old: datetime, old_event: UUID) -> None:
        prune(NOW)
        late = UUID(int=first_id_at(old).int | 7 << 76 | 2 << 62 | 2)
        handled([late])
        prune(NOW)
        assert strays() == []
        assert PrunedMonth.objects.get(month=old.date()).events == 1

    def test_it_names_what_keeps_a_month_and_exits_with_1(self, old: datetime, old_event: UUID, capsys: Any) -> None:
        Outbox.objects.create(event_id=old_event, aggregate_id="p")
        for arguments in ([], ["--dry-run"]):
            with pytest.raises(SystemExit) as ended:
                call_command("prune_archive", *arguments)
            assert ended.value.code == 1
            assert f"{old:%Y-%m} stays: 1 events in the outbox" in capsys.readouterr().out

    def test_it_refuses_senseless_days(self, settings: Any) -> None:
        settings.EVENTBUS_ARCHIVE_DAYS = 0
        with pytest.raises(CommandError) as refused:
            call_command("prune_archive")
        assert refused.value.returncode == 2

    def test_beat_prunes_too(self, old_event: UUID) -> None:
        prune_archive()
        assert not ArchivedEvent.objects.filter(pk=old_event).exists()


def prune_into(pruned: list[retention.Month]) -> None:
    """For a thread, which has a connection of its own."""
    pruned.extend(retention.prune())
    connection.close()


@pytest.mark.django_db(transaction=True)
class TestBesideTraffic:
    @pytest.fixture(autouse=True)
    def old_event(self, settings: Any) -> UUID:
        settings.EVENTBUS_ARCHIVE_DAYS = 1
        old = month_start(NOW, -2)
        create_partitions([old])
        return publish_at(UUID(int=first_id_at(old).int | 1))

    @pytest.fixture
    def read_on(self) -> Iterator[Signal]:
        """A transaction that reads the archive until it is told that it is enough."""
        reading, enough = Signal(), Signal()
        reader = Thread(target=read_until, args=(reading, enough))
        reader.start()
        assert reading.wait(10)
        yield enough
        enough.set()
        reader.join(10)

    def test_it_waits_for_its_moment_and_holds_nobody_up(self, read_on: Signal) -> None:
        pruned: list[retention.Month] = []
        pruner = Thread(target=prune_into, args=[pruned])
        pruner.start()
        slowest = 0.0
        for _ in range(3):
            wait_until(waits_for_the_archive, 10, "an attempt to drop the month")
            began = monotonic()
            with transaction.atomic():
                publish(ParcelSent(parcel_id="live"))
            slowest = max(slowest, monotonic() - began)
        assert slowest < 1
        assert not pruned
        read_on.set()
        pruner.join(30)
        assert [month.kept_because for month in pruned] == [[]]

    def test_an_event_of_the_month_can_be_handled_meanwhile(self, read_on: Signal, old_event: UUID) -> None:
        """What a replay sends belongs into the old month's inbox, and live events wait behind it in its worker."""
        pruned: list[retention.Month] = []
        pruner = Thread(target=prune_into, args=[pruned])
        pruner.start()
        wait_until(waits_for_the_archive, 10, "an attempt to drop the month")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '5s'")
        handled([old_event])
        connection.close()
        assert not pruned
        read_on.set()
        pruner.join(30)
        assert [month.kept_because for month in pruned] == [[]]

    def test_two_at_once_prune_it_once(self, read_on: Signal) -> None:
        first: list[retention.Month] = []
        pruner = Thread(target=prune_into, args=[first])
        pruner.start()
        wait_until(waits_for_the_archive, 10, "an attempt to drop the month")
        (second,) = retention.prune()
        assert second.kept_because == ["another prune_archive is at it: run it again later"]
        read_on.set()
        pruner.join(30)
        assert [month.kept_because for month in first] == [[]]

    def test_a_month_that_somebody_else_pruned_meanwhile_is_passed_over(self) -> None:
        with patch.object(retention, "preparations", []):
            retention.before_pruning(lambda *_: prune_elsewhere())
            assert list(retention.prune()) == []
        assert PrunedMonth.objects.get().events == 1

    def test_a_month_without_a_moment_stays_whole(self, read_on: Signal, old_event: UUID, monkeypatch: Any) -> None:
        monkeypatch.setattr(ddl, "PATIENCE", 0.0)
        (month,) = retention.prune()
        assert month.kept_because == ["traffic left no moment to drop it: run it again"]
        assert not StreamCut.objects.exists()
        assert ArchivedEvent.objects.filter(pk=old_event).exists()
        monkeypatch.undo()
        read_on.set()
        assert [month.kept_because for month in retention.prune()] == [[]]


def prune_elsewhere() -> None:
    """Another process comes first."""

    def run() -> None:
        with patch.object(retention, "preparations", []):
            list(retention.prune())
        connection.close()

    other = Thread(target=run)
    other.start()
    other.join(30)


def read_until(reading: Signal, enough: Signal) -> None:
    with transaction.atomic():
        ArchivedEvent.objects.count()
        reading.set()
        enough.wait(30)
    connection.close()


def waits_for_the_archive() -> bool:
    """Whether somebody waits for the archive for itself."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE relation IN ('event'::regclass, 'processed_event'::regclass) "
            "AND mode = 'AccessExclusiveLock'"
        )
        (count,) = cursor.fetchone() or (0,)
    return bool(count)
