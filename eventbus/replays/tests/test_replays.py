"""Replays from the archive: what is sent, what is left out, and that no kill leaves a gap."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from eventbus.broker.publisher import Outgoing, Unconfirmed
from eventbus.db.sql import fetch
from eventbus.declaration import Consumer, Retry, consumer
from eventbus.ids import FROM_THE_START, new_id
from eventbus.leases import RunRefused
from eventbus.models import DeadLetter
from eventbus.recording.publish import publish
from eventbus.relay.models import Outbox
from eventbus.replays import driver, runs, windows
from eventbus.replays.driver import IN_QUEUE, ArchiveReplayDriver
from eventbus.replays.models import ArchiveReplay
from eventbus.replays.selection import Selection, SelectionError
from eventbus.tests.builders import StandInBroker, archive_replay, dead_letter, handled, happened, parcel
from eventbus.tests.samples import ParcelSent, ParcelTracked, track
from eventbus.worker import inbox
from eventbus.worker.delivery import Delivery
from eventbus.worker.failures import RetryLater, decide
from eventbus.worker.models import ProcessedEvent
from eventbus.worker.processing import read

pytestmark = pytest.mark.django_db


@pytest.fixture
def broker() -> StandInBroker:
    return StandInBroker()


@pytest.fixture
def new_driver(broker: StandInBroker, monkeypatch: pytest.MonkeyPatch) -> Callable[[], ArchiveReplayDriver]:
    monkeypatch.setattr(driver, "PATIENCE", 0)

    def make() -> ArchiveReplayDriver:
        made = ArchiveReplayDriver("amqp://")
        made.publisher = broker  # type: ignore[assignment]
        return made

    return make


@pytest.fixture
def drive(new_driver: Callable[[], ArchiveReplayDriver]) -> Callable[[ArchiveReplay], None]:
    """Drive a replay until it sends nothing more."""

    def to_the_end(replay: ArchiveReplay) -> None:
        while new_driver().step(replay.pk):
            ArchiveReplay.objects.update(lease_holder="")
        replay.refresh_from_db()

    return to_the_end


def test_it_sends_what_the_consumer_has_not_handled_to_its_queue_alone(
    drive: Callable[[ArchiveReplay], None], broker: StandInBroker
) -> None:
    ids = happened(5)
    handled(ids[:2])
    replay = archive_replay()
    drive(replay)
    assert (replay.state, replay.sent, replay.total) == ("done", 3, 3)
    assert broker.ids == ids[2:]
    [first, *_] = broker.sent
    assert (first.exchange, first.routing_key) == ("", track.name)
    headers = first.properties["application_headers"]
    assert (headers["x-replay-id"], headers["x-attempt"]) == (str(replay.pk), 1)
    assert read(track, Delivery(first.body, headers)).envelope.event_id == ids[2]


def test_what_a_dead_letter_or_the_outbox_holds_is_told_apart(
    drive: Callable[[ArchiveReplay], None], broker: StandInBroker
) -> None:
    [done, dead, waiting, missing] = happened(4)
    handled([done])
    inbox.mark_dead(track, dead, 4)
    ProcessedEvent.objects.create(
        event_id=waiting, consumer=track.name, outcome="waiting", processed_at=datetime.now(UTC)
    )
    letter = dead_letter(parcel(f"p-{uuid4()}"))
    with transaction.atomic():
        [unsent] = publish(ParcelSent(parcel_id="p"))
    plan = runs.plan_replay(track, Selection())
    assert dict(plan.counts) == {"handled": 1, "dead": 2, "missing": 1, "outbox": 1}
    assert letter.event_id not in broker.ids
    drive(archive_replay())
    assert broker.ids == [missing, unsent]
    assert Outbox.objects.filter(event_id=unsent).exists()


def test_an_open_letter_that_the_inbox_does_not_know_is_left_to_its_own_replay(
    drive: Callable[[ArchiveReplay], None], broker: StandInBroker
) -> None:
    letter = dead_letter(parcel(f"p-{uuid4()}"))
    [unreadable, missing] = happened(2)
    ProcessedEvent.objects.all().delete()
    DeadLetter.objects.filter(pk=letter.pk).update(event_id=unreadable)
    assert dict(runs.plan_replay(track, Selection()).counts) == {"dead": 1, "missing": 1}
    drive(archive_replay())
    assert broker.ids == [missing]


def test_the_filters_all_hold_at_once(drive: Callable[[ArchiveReplay], None], broker: StandInBroker) -> None:
    [other] = happened(1, parcel_id="other")
    [mine] = happened(1, parcel_id="mine")
    tracked = happened(1, event=ParcelTracked, parcel_id="mine")
    replay = archive_replay(aggregate_id="mine", types=["parcel.sent"], since=datetime.now(UTC) - timedelta(hours=1))
    drive(replay)
    assert broker.ids == [mine]
    assert {other, *tracked}.isdisjoint(broker.ids)
    assert (
        runs.start_replay(runs.plan_replay(track, Selection(until=datetime.now(UTC) - timedelta(hours=1))), by="a")
        is None
    )
    correlation = fetch("SELECT correlation_id FROM event WHERE id = %s", [other])[0][0]
    broker.sent.clear()
    drive(archive_replay(correlation_id=correlation))
    assert broker.ids == [other]


def test_since_and_until_go_by_the_time_in_the_id(
    drive: Callable[[ArchiveReplay], None], broker: StandInBroker
) -> None:
    ids = happened(3)
    moments = [datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC) for event_id in ids]
    drive(archive_replay(since=moments[0], until=moments[-1] + timedelta(milliseconds=1)))
    assert broker.ids == ids


def test_a_type_that_the_consumer_does_not_listen_to_is_refused() -> None:
    with pytest.raises(SelectionError, match=r"does not listen to parcel\.tracked\. It listens to parcel\.sent"):
        runs.plan_replay(track, Selection(types=["parcel.tracked"]))
    with pytest.raises(SelectionError, match=r"No event is called parcel\.lost"):
        runs.plan_replay(track, Selection(types=["parcel.lost"]))


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+00:00", "1970-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"]
)
def test_any_time_of_the_calendar_can_be_asked_for(moment: str) -> None:
    asked = datetime.fromisoformat(moment)
    selection = Selection(since=asked, until=asked)
    assert selection.after >= FROM_THE_START
    assert selection.before(new_id()) >= FROM_THE_START


def test_a_consumer_with_effects_outside_has_to_be_named() -> None:
    mail = consumer("parcel.mail", on=[ParcelSent], side_effects=True)(lambda event: None)
    with pytest.raises(SelectionError, match=r"parcel\.mail reaches outside the database"):
        runs.consumer_named("parcel.mail")
    assert runs.consumer_named("parcel.mail", side_effects="parcel.mail") is mail
    with pytest.raises(SelectionError, match=r"No consumer is called parcel\.male"):
        runs.consumer_named("parcel.male")


def test_the_set_is_frozen_at_the_start(drive: Callable[[ArchiveReplay], None], broker: StandInBroker) -> None:
    before = happened(2)
    replay = archive_replay()
    happened(2)
    drive(replay)
    assert broker.ids == before


def test_no_more_than_the_bound_waits_in_the_queue(
    new_driver: Callable[[], ArchiveReplayDriver], broker: StandInBroker
) -> None:
    happened(IN_QUEUE + 50)
    replay = archive_replay()
    driven = new_driver()
    broker.waiting = IN_QUEUE - 220
    assert driven.step(replay.pk)
    assert len(broker.sent) == 220
    broker.waiting = IN_QUEUE - 150
    assert not driven.step(replay.pk)
    assert len(broker.sent) == 220


def test_a_window_of_others_events_moves_on_without_sending(
    drive: Callable[[ArchiveReplay], None], broker: StandInBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "BOUNDARY", windows.BOUNDARY.replace(f"LIMIT {windows.READ_AT_MOST}", "LIMIT 3"))
    happened(10, event=ParcelTracked)
    [rare] = happened(1)
    happened(10, event=ParcelTracked)
    replay = archive_replay()
    drive(replay)
    assert (broker.ids, replay.state) == ([rare], "done")


def test_a_driver_that_dies_after_it_sent_leaves_no_gap(
    new_driver: Callable[[], ArchiveReplayDriver],
    drive: Callable[[ArchiveReplay], None],
    broker: StandInBroker,
    monkeypatch: Any,
) -> None:
    ids = happened(5)
    replay = archive_replay(rate=4)

    def die(_: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(driver, "failpoint", die)
        with pytest.raises(KeyboardInterrupt):
            new_driver().step(replay.pk)
    replay.refresh_from_db()
    assert (len(broker.sent), replay.sent) == (2, 0)
    # Its lease is its own until it runs out.
    assert not new_driver().step(replay.pk)
    assert len(broker.sent) == 2
    ArchiveReplay.objects.update(lease_until=datetime.now(UTC) - timedelta(seconds=1), rate=None)
    drive(replay)
    assert broker.ids == [*ids[:2], *ids]
    assert (replay.state, replay.sent) == ("done", 5)


def test_what_a_full_queue_refuses_is_sent_later(
    new_driver: Callable[[], ArchiveReplayDriver], drive: Callable[[ArchiveReplay], None], broker: StandInBroker
) -> None:
    ids = happened(5)
    replay = archive_replay()
    broker.takes = 2
    new_driver().step(replay.pk)
    replay.refresh_from_db()
    assert (replay.sent, replay.state) == (2, "running")
    assert "it is full" in replay.note
    broker.takes = 1000
    ArchiveReplay.objects.update(lease_holder="")
    drive(replay)
    assert broker.ids == ids
    assert (replay.state, replay.note) == ("done", "")


def test_a_missing_queue_is_said_and_waited_for(
    new_driver: Callable[[], ArchiveReplayDriver], broker: StandInBroker
) -> None:
    happened(1)
    replay = archive_replay()
    broker.waiting = None
    assert not new_driver().step(replay.pk)
    replay.refresh_from_db()
    assert (replay.state, "declare_topology" in replay.note) == ("running", True)


def test_a_broker_that_does_not_answer_changes_nothing(
    new_driver: Callable[[], ArchiveReplayDriver], broker: StandInBroker
) -> None:
    happened(1)
    replay = archive_replay()
    broker.down = True
    with pytest.raises(Unconfirmed):
        new_driver().step(replay.pk)
    replay.refresh_from_db()
    assert (replay.sent, replay.position) == (0, UUID(int=0))


def test_a_paused_replay_goes_on_where_it_was(
    new_driver: Callable[[], ArchiveReplayDriver], drive: Callable[[ArchiveReplay], None], broker: StandInBroker
) -> None:
    ids = happened(4)
    replay = archive_replay(rate=4)
    new_driver().step(replay.pk)
    ArchiveReplay.objects.update(lease_holder="", rate=None)
    runs.pause_replay(replay.pk, by="ada")
    drive(replay)
    assert (replay.state, replay.sent) == ("paused", 2)
    runs.resume_replay(replay.pk, by="ada")
    drive(replay)
    assert broker.ids == ids


def test_a_cancelled_replay_is_over(drive: Callable[[ArchiveReplay], None], broker: StandInBroker) -> None:
    happened(4)
    replay = archive_replay()
    runs.cancel_replay(replay.pk, by="ada")
    drive(replay)
    assert (replay.state, replay.note, broker.sent) == ("cancelled", "Cancelled by ada.", [])
    with pytest.raises(RunRefused, match="is cancelled"):
        runs.resume_replay(replay.pk, by="ada")
    with pytest.raises(RunRefused, match="look at the list of replays"):
        runs.pause_replay(uuid4(), by="ada")


def test_a_process_of_an_older_release_leaves_a_backfill_that_it_does_not_know_to_others(
    new_driver: Callable[[], ArchiveReplayDriver],
) -> None:
    happened(1)
    replay = archive_replay()
    assert new_driver().free_runs() == [replay.pk]
    ArchiveReplay.objects.update(consumer="parcel.of_tomorrow")
    assert new_driver().free_runs() == []


def test_an_event_of_long_ago_is_retried_as_any_other() -> None:
    """`max_age` counts from the first failure of this delivery, not from when the event happened."""
    [event] = happened(1)
    aged = consumer("parcel.aged", on=[ParcelSent], retry=Retry(times=3, max_age=60))(lambda event: None)
    [message] = messages(aged, event)
    delivery = Delivery(message.body, {"x-attempt": 1, "x-replay-id": str(uuid4())})
    a_year_later = datetime.now(UTC) + timedelta(days=365)
    assert decide(aged, ValueError("no"), delivery, a_year_later) == RetryLater(1, 2)


def messages(to: Consumer, *ids: UUID) -> list[Outgoing]:
    window = windows.window(to.name, to.routing_keys, UUID(int=0), ids[-1], {}, 100)
    return [driver.as_message(each, to.name, uuid4()) for each in window.events]


def run(capsys: Any, *arguments: str) -> Any:
    call_command("replay_events", *arguments, "--json")
    return json.loads(capsys.readouterr().out)


def test_a_dry_run_counts_and_starts_nothing(capsys: Any) -> None:
    handled(happened(2))
    happened(3)
    found = run(capsys, "--to", track.name, "--dry-run")
    assert found == {
        "matched": 5,
        "handled": 2,
        "dead": 0,
        "outbox": 0,
        "missing": 3,
        "wouldSend": 3,
        "byType": {"parcel.sent": {"handled": 2, "missing": 3}},
    }
    call_command("replay_events", "--to", track.name, "--dry-run")
    assert "Would send 3 events to parcel.track." in capsys.readouterr().out
    assert not ArchiveReplay.objects.exists()


def test_where_nothing_is_to_be_sent_it_says_why(capsys: Any) -> None:
    with pytest.raises(CommandError, match=r"No archived event that parcel\.track listens to matches"):
        call_command("replay_events", "--to", track.name)
    handled(happened(2))
    with pytest.raises(CommandError, match="2 of them are handled already"):
        call_command("replay_events", "--to", track.name)


def test_a_started_replay_is_listed_paused_and_cancelled(capsys: Any) -> None:
    happened(3)
    started = run(capsys, "--to", track.name, "--detach", "--rate", "5")
    assert (started["state"], started["total"], started["rate"]) == ("running", 3, 5.0)
    assert run(capsys, "--pause", started["id"])["state"] == "paused"
    assert [each["id"] for each in run(capsys, "--list")["replays"]] == [started["id"]]
    assert run(capsys, "--cancel", started["id"])["state"] == "cancelled"
    with pytest.raises(CommandError) as refused:
        call_command("replay_events", "--resume", started["id"])
    assert refused.value.returncode == 2
    call_command("replay_events", "--list")
    assert "0 of 3" in capsys.readouterr().out
