"""What a story tells: who published what because of what, and what became of it at each consumer."""

from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from eventbus.contracts.codec import encode_envelope
from eventbus.contracts.event import Event
from eventbus.db.sql import fetch
from eventbus.recording.context import acting_as, correlated_with
from eventbus.recording.publish import publish
from eventbus.relay.models import Outbox
from eventbus.subscriptions.noting import note_subscriptions
from eventbus.testing import ArchivedEvent, from_archive
from eventbus.tests.builders import dead_letter, waiting_retry
from eventbus.tests.samples import ParcelSent, ParcelTracked, ParcelWeighed, track, track_all
from eventbus.traces import Story, TraceState, event_key, story_of_correlation, story_of_things
from eventbus.worker import inbox
from eventbus.worker.delivery import Delivery
from eventbus.worker.inbox import Arrival
from eventbus.worker.processing import arrival_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def listening() -> None:
    note_subscriptions()


def sent(parcel_id: str = "p-1", *, is_published: bool = True) -> UUID:
    with transaction.atomic():
        (event_id,) = publish(ParcelSent(parcel_id=parcel_id))
    if is_published:
        Outbox.objects.filter(event_id=event_id).delete()
    return event_id


def event_of(event_id: UUID) -> Event:
    return from_archive(ArchivedEvent.objects.get(pk=event_id))


def body_of(event_id: UUID) -> bytes:
    return encode_envelope(ArchivedEvent.objects.get(pk=event_id).wire_fields)


def states(story: Story) -> dict[str, TraceState]:
    """What became of the story's first event, by consumer."""
    return {delivery.consumer: delivery.state for delivery in story.events[0].deliveries}


def test_an_event_is_in_the_outbox_then_under_way_then_done() -> None:
    event_id = sent(is_published=False)
    assert set(states(story_of_things(["p-1"])).values()) == {TraceState.OUTBOX}
    Outbox.objects.all().delete()
    assert states(story_of_things(["p-1"]))["parcel.track"] == TraceState.UNDER_WAY
    inbox.process(track, [Arrival(event_of(event_id))])
    story = story_of_things(["p-1"])
    assert states(story)["parcel.track"] == TraceState.DONE
    assert states(story)["parcel.track_all"] == TraceState.UNDER_WAY
    assert story.is_under_way


def test_what_waits_and_what_was_given_up_say_why() -> None:
    event_id = sent()
    waiting_retry(body=body_of(event_id), error="ValueError: no scale")
    dead_letter(body_of(event_id), to=track_all)
    story = story_of_things(["p-1"])
    found = {each.consumer: each for each in story.deliveries}
    assert (found["parcel.track"].state, found["parcel.track"].error) == (TraceState.RETRYING, "ValueError: no scale")
    assert found["parcel.track"].due_at is not None
    assert found["parcel.track_all"].state is TraceState.DEAD
    assert found["parcel.track_all"].letter is not None


def test_an_event_stands_below_the_consumer_that_published_it() -> None:
    event_id = sent()
    inbox.process(track, [Arrival(event_of(event_id))])
    (root,) = story_of_things(["p-1"]).roots
    ((_, effects),) = root.caused.items()
    assert [each.type for each in effects] == [ParcelTracked.type]


def test_things_that_share_a_correlation_id_have_stories_of_their_own() -> None:
    with correlated_with("one click"), acting_as(7):
        ours, theirs = sent("p-1"), sent("p-2")
    for event_id in (ours, theirs):
        inbox.process(track, [Arrival(event_of(event_id))])
    assert {event.row.aggregate_id for event in story_of_things(["p-1"]).events} == {"p-1"}
    shared = story_of_correlation("one click")
    assert {event.row.aggregate_id for event in shared.events} == {"p-1", "p-2"}
    assert {root.row.user_id for root in shared.roots} == {"7"}


def test_what_is_internal_is_for_nobody() -> None:
    with transaction.atomic():
        publish(ParcelWeighed(parcel_id="p-1"))
    story = story_of_things(["p-1"])
    assert story.events[0].internal
    assert not story.is_under_way


def test_an_id_says_what_it_is_about() -> None:
    found = event_key(sent())
    assert found is not None
    assert (found.event_type, found.aggregate_id) == (ParcelSent.type, "p-1")


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, (1, None, None)),
        (
            {
                "x-attempt": 3,
                "x-first-failed-at": "2025-03-01T12:30:00+00:00",
                "x-attempts": '[{"attempt": 1, "error": "first"}, {"attempt": 2, "error": "no\\u0000scale"}]',
            },
            (3, 2025, "no\ufffdscale"),
        ),
        ({"x-attempt": 2, "x-first-failed-at": "9999-12-31", "x-attempts": "[7]"}, (2, 9999, None)),
    ],
)
def test_the_inbox_keeps_how_an_event_failed_before_it_succeeded(headers: dict[str, Any], told: Any) -> None:
    event_id = sent()
    inbox.process(track, [arrival_of(Delivery("", headers), event_of(event_id))])
    (delivery,) = (each for each in story_of_things(["p-1"]).deliveries if each.consumer == "parcel.track")
    when = delivery.first_failed_at.year if delivery.first_failed_at else None
    assert (delivery.attempts, when, delivery.error or None) == told


def test_a_story_takes_two_statements(django_assert_num_queries: Any) -> None:
    for number in range(5):
        inbox.process(track, [Arrival(event_of(sent(f"p-{number}")))])
    with django_assert_num_queries(2):
        story_of_things([f"p-{number}" for number in range(5)])


def test_how_long_a_handler_took_is_known_where_the_server_notes_it() -> None:
    inbox.process(track, [Arrival(event_of(sent()))])
    noted = fetch("SELECT current_setting('track_commit_timestamp')::bool")[0][0]
    (delivery,) = (each for each in story_of_things(["p-1"]).deliveries if each.consumer == "parcel.track")
    # The test's own transaction has not ended.
    assert delivery.milliseconds is None or noted
