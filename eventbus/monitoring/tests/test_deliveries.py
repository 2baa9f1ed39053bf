"""The delivery audit: what each consumer has done, and what it misses, compared with the archive."""

from unittest.mock import patch

import pytest
from django.db import connection, transaction

from eventbus.archive.models import ArchivedEvent as Archived
from eventbus.broker.publisher import Outgoing
from eventbus.monitoring import deliveries
from eventbus.recording.publish import publish
from eventbus.relay.models import Outbox
from eventbus.retries.models import WaitingRetry
from eventbus.subscriptions.models import Subscription
from eventbus.tests.builders import waiting_retry
from eventbus.tests.samples import ParcelSent, track
from eventbus.worker import inbox


def sent(parcel: str) -> Archived:
    with transaction.atomic():
        [event_id] = publish(ParcelSent(parcel_id=parcel))
    return Archived.objects.get(pk=event_id)


def drain_outbox() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM outbox")


@pytest.mark.django_db(transaction=True)
def test_an_event_is_missing_once_it_left_the_outbox_and_reached_nobody() -> None:
    sent("before anybody listened")
    Subscription.objects.create(consumer=track.name, routing_key=ParcelSent.routing_key())
    event = sent("p1")
    assert Outbox.objects.filter(event_id=event.id).exists()
    assert deliveries.missing(limit=10) == []
    assert deliveries.balance() == {track.name: {"outbox": 1}}
    drain_outbox()
    [loss] = deliveries.missing(limit=10)
    assert (loss.consumer, loss.event.event_id) == (track.name, event.id)
    assert str(event.id) in str(loss)
    assert deliveries.balance() == {track.name: {"missing": 1}}


@pytest.mark.django_db(transaction=True)
def test_what_is_done_or_dead_is_not_missing() -> None:
    Subscription.objects.create(consumer=track.name, routing_key=ParcelSent.routing_key())
    done, dead = sent("p1"), sent("p2")
    drain_outbox()
    with connection.cursor() as cursor:
        cursor.execute(inbox.CLAIM, [track.name, [done.id], [1], [None]])
    inbox.mark_dead(track, dead.id, 4)
    assert deliveries.missing(limit=10) == []
    assert deliveries.balance() == {track.name: {"done": 1, "dead": 1}}


@pytest.mark.django_db(transaction=True)
def test_what_waits_for_its_next_attempt_is_not_missing() -> None:
    Subscription.objects.create(consumer=track.name, routing_key=ParcelSent.routing_key())
    event = sent("p1")
    drain_outbox()
    retry = waiting_retry()
    WaitingRetry.objects.update(event_id=event.id)
    assert deliveries.missing(limit=10) == []
    assert deliveries.balance() == {track.name: {"retrying": 1}}
    retry.delete()
    assert deliveries.balance() == {track.name: {"missing": 1}}


@pytest.mark.django_db(transaction=True)
def test_a_repair_sends_each_loss_once_to_the_consumer_that_misses_it() -> None:
    for consumer in (track.name, "parcel.weigh"):
        Subscription.objects.create(consumer=consumer, routing_key=ParcelSent.routing_key())
    events = [sent(f"p{number}") for number in range(7)]
    drain_outbox()
    gone: list[Outgoing] = []

    def send(_: object, window: list[Outgoing]) -> set[int]:
        gone.extend(window)
        return set(range(len(window)))

    # An odd window: some end between the two consumers of one event.
    with (
        patch("eventbus.monitoring.deliveries.REPAIR_WINDOW", 3),
        patch("eventbus.monitoring.deliveries.ConfirmingPublisher.send", send),
    ):
        assert sum(deliveries.repair("amqp://nowhere")) == 14
    assert {(each.exchange, each.routing_key, each.properties["message_id"]) for each in gone} == {
        ("", consumer, str(event.id)) for consumer in (track.name, "parcel.weigh") for event in events
    }
    assert len(gone) == 14
