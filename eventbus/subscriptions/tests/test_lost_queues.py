"""What a lost queue held is sent again: to its consumer alone, whatever had sent it before."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from eventbus.broker import topology
from eventbus.dead_letters.models import DeadLetter
from eventbus.ids import first_id_at, moment_of
from eventbus.relay.lost_queues import consumers_that_lost
from eventbus.replays.models import ArchiveReplay, RunState
from eventbus.subscriptions.lost_queues import send_again
from eventbus.subscriptions.models import Subscription
from eventbus.subscriptions.noting import note_subscriptions
from eventbus.tests.builders import archive_replay, dead_letter, handled, happened
from eventbus.tests.samples import track
from eventbus.worker.inbox import mark_dead
from eventbus.worker.models import ProcessedEvent

pytestmark = pytest.mark.django_db


def test_only_who_listened_to_the_queue_has_lost_something() -> None:
    assert consumers_that_lost([topology.consumer_queue(track), topology.dead_queue(track.name)]) == [track.name]
    assert consumers_that_lost([topology.dead_queue(track.name)]) == []


def test_what_is_not_handled_since_the_watermark_is_sent_again() -> None:
    note_subscriptions()
    old = happened(2)
    ids = happened(3)
    handled(ids[:1])
    Subscription.objects.filter(consumer=track.name).update(watermark=moment_of(ids[0]))
    send_again(track.name)
    replay = ArchiveReplay.objects.get()
    assert (replay.consumer, replay.state, replay.created_by) == (track.name, RunState.RUNNING, "lost queue")
    assert replay.position >= UUID(int=first_id_at(moment_of(ids[0])).int - 1)
    assert replay.upto == ids[-1]
    assert replay.total in (2, 2 + len(old)), "the old ones may have come in the same millisecond"


def test_nothing_is_sent_to_a_consumer_that_has_handled_all() -> None:
    note_subscriptions()
    handled(happened(3))
    send_again(track.name)
    assert not ArchiveReplay.objects.exists()


def test_a_replay_begins_anew_where_it_began() -> None:
    note_subscriptions()
    ids = happened(3)
    since = datetime.now(UTC) - timedelta(days=1)
    replay = archive_replay(since=since)
    begin = replay.position
    ArchiveReplay.objects.filter(pk=replay.pk).update(position=ids[-1], lease_holder="somebody")
    handled(ids)
    send_again(track.name)
    replay.refresh_from_db()
    assert (replay.position, replay.lease_holder) == (begin, "")


def test_what_was_given_up_and_lost_on_its_way_to_the_table_comes_again() -> None:
    note_subscriptions()
    lost, kept, long_ago = happened(3)
    for event_id in (lost, kept, long_ago):
        mark_dead(track, event_id, attempts=1)
    DeadLetter.objects.filter(pk=dead_letter().pk).update(event_id=kept)
    ProcessedEvent.objects.filter(event_id=long_ago).update(processed_at=datetime.now(UTC) - timedelta(days=15))
    Subscription.objects.filter(consumer=track.name).update(watermark=datetime.now(UTC) + timedelta(minutes=1))
    send_again(track.name)
    replay = ArchiveReplay.objects.get()
    assert (replay.total, replay.position < lost) == (1, True)
