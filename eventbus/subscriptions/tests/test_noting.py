"""Consumers that begin at the beginning: their backfill starts with their subscription, and once."""

from datetime import UTC, datetime, timedelta
from unittest.mock import patch
from uuid import UUID

import pytest
from django.db import connection, transaction

from eventbus.declaration import CONSUMERS, Consumer, consumer
from eventbus.ids import first_id_at
from eventbus.monitoring import deliveries
from eventbus.monitoring.bus_rules import event_age
from eventbus.monitoring.rules import Observation
from eventbus.recording.publish import publish
from eventbus.relay.lag import outbox_lag
from eventbus.replays.models import ArchiveReplay
from eventbus.replays.runs import cancel_replay, finish_replay, pause_replay
from eventbus.subscriptions.models import Subscription
from eventbus.subscriptions.noting import EPOCH, note_subscriptions
from eventbus.tests.builders import handled, happened
from eventbus.tests.samples import ParcelSent, ParcelTracked

pytestmark = pytest.mark.django_db


@pytest.fixture
def first() -> Consumer:
    return consumer("parcel.remember", on=[ParcelSent], start="beginning")(lambda event: None)


def forget_all_but(one: Consumer) -> None:
    for name in set(CONSUMERS) - {one.name}:
        CONSUMERS.pop(name)


def test_a_new_consumer_gets_a_backfill_of_all_that_happened(first: Consumer) -> None:
    ids = happened(3)
    happened(2, event=ParcelTracked)
    [backfill] = note_subscriptions()
    assert (backfill.consumer, backfill.is_backfill, backfill.total) == (first.name, True, 3)
    assert (backfill.routing_keys, backfill.position, backfill.upto > ids[-1]) == (
        ["parcel.sent.v1"],
        UUID(int=0),
        True,
    )
    assert Subscription.objects.get(consumer=first.name).since == EPOCH
    assert Subscription.objects.get(consumer="parcel.track").since > EPOCH + timedelta(days=1)


def test_a_second_declaration_changes_nothing(first: Consumer) -> None:
    happened(3)
    note_subscriptions()
    before = list(Subscription.objects.values())
    assert note_subscriptions() == []
    assert list(Subscription.objects.values()) == before
    assert ArchiveReplay.objects.count() == 1


def test_without_history_there_is_nothing_to_backfill(first: Consumer) -> None:
    assert note_subscriptions() == []
    assert Subscription.objects.get(consumer=first.name).since == EPOCH


def test_a_contract_that_is_added_later_is_backfilled_alone(first: Consumer) -> None:
    happened(3)
    note_subscriptions()
    CONSUMERS.pop(first.name)
    happened(2, event=ParcelTracked)
    consumer(first.name, on=[ParcelSent, ParcelTracked], start="beginning")(first.handler)
    [backfill] = note_subscriptions()
    assert (backfill.routing_keys, backfill.total) == (["parcel.tracked.v1"], 2)


@pytest.mark.django_db(transaction=True)
def test_a_subscription_without_its_backfill_is_not_noted(first: Consumer) -> None:
    happened(1)
    with (
        patch("eventbus.subscriptions.noting.start_backfill", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        note_subscriptions()
    assert not Subscription.objects.filter(consumer=first.name).exists()
    assert [backfill.consumer for backfill in note_subscriptions()] == [first.name]


def test_what_a_backfill_has_before_it_is_not_lost_until_the_backfill_is_over(first: Consumer) -> None:
    forget_all_but(first)
    ids = happened(3)
    [backfill] = note_subscriptions()
    handled(ids[:1], by=first)
    assert deliveries.missing(limit=10) == []
    assert deliveries.balance() == {first.name: {"done": 1, "replaying": 2}}
    [later] = happened(1)
    assert [loss.event.event_id for loss in deliveries.missing(limit=10)] == [later]
    pause_replay(backfill.pk, by="ada")
    assert len(deliveries.missing(limit=10)) == 1
    ArchiveReplay.objects.update(state="running")
    finish_replay(backfill.pk)
    assert [loss.event.event_id for loss in deliveries.missing(limit=10)] == [*ids[1:], later]


def test_what_a_cancelled_backfill_left_out_is_missing(first: Consumer) -> None:
    forget_all_but(first)
    happened(3)
    [backfill] = note_subscriptions()
    cancel_replay(backfill.pk, by="ada")
    assert deliveries.balance() == {first.name: {"missing": 3}}


def test_a_backfill_is_not_a_backlog_that_anybody_is_woken_for(first: Consumer) -> None:
    forget_all_but(first)
    with (
        transaction.atomic(),
        patch("eventbus.recording.publish.new_id", side_effect=[first_id_at(datetime.now(UTC) - timedelta(hours=1))]),
    ):
        publish(ParcelSent(parcel_id="p"))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM outbox")
    note_subscriptions()
    assert event_age(Observation(outbox_lag(count_to=10), None)) == {first.name: 0.0}
