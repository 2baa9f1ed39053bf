import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction

from eventbus.archive.models import ArchivedEvent
from eventbus.recording.context import Cause, caused_by, handling
from eventbus.recording.publish import publish, publish_with, single_statement
from eventbus.relay.models import Outbox
from eventbus.subscriptions.models import Subscription
from eventbus.testing.bus import delivered
from eventbus.tests.samples import ParcelSent, ParcelTracked, ParcelWeighed


@pytest.fixture
def parcel_id() -> str:
    """An aggregate that no other test uses: the archive keeps what tests with real commits leave in it."""
    return f"p-{uuid4()}"


class ChangedMind(Exception):
    """Why a transaction of a test rolls back."""


def publish_and_fail(event: ParcelSent | ParcelTracked) -> None:
    """Publish in a transaction, or a savepoint of one, that then rolls back."""
    with transaction.atomic():
        publish(event)
        raise ChangedMind


def sequences(aggregate_id: str) -> list[int]:
    """The numbers of an aggregate's events, in the order in which a relay sends them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT e.sequence FROM outbox o JOIN event e ON e.id = o.event_id WHERE e.aggregate_id = %s "
            "ORDER BY o.position",
            [aggregate_id],
        )
        return [sequence for (sequence,) in cursor.fetchall()]


@pytest.mark.django_db(transaction=True)
def test_publishing_outside_a_transaction_is_refused(parcel_id: str) -> None:
    with pytest.raises(RuntimeError, match=r"belongs inside transaction\.atomic\(\)"):
        publish(ParcelSent(parcel_id=parcel_id))
    assert not ArchivedEvent.objects.filter(aggregate_id=parcel_id).exists()


@pytest.mark.django_db(transaction=True)
def test_archive_and_outbox_roll_back_with_the_change(parcel_id: str) -> None:
    with pytest.raises(ChangedMind):
        publish_and_fail(ParcelSent(parcel_id=parcel_id))
    assert not ArchivedEvent.objects.filter(aggregate_id=parcel_id).exists()
    assert not Outbox.objects.filter(aggregate_id=parcel_id).exists()

    with transaction.atomic():
        publish(ParcelSent(parcel_id=parcel_id))
    assert sequences(parcel_id) == [1]


@pytest.mark.django_db
@pytest.mark.parametrize("number", [1, 2, 100])
def test_any_number_of_events_is_one_statement(
    number: int, parcel_id: str, django_assert_num_queries: Callable[[int], Any]
) -> None:
    events = [ParcelSent(parcel_id=f"{parcel_id}-{n % 3}") for n in range(number)]
    with django_assert_num_queries(1):
        ids = publish(*events)
    assert len(set(ids)) == number
    assert ArchivedEvent.objects.filter(pk__in=ids).count() == Outbox.objects.filter(event_id__in=ids).count() == number


@pytest.mark.django_db
def test_publishing_nothing_does_nothing(django_assert_num_queries: Callable[[int], Any]) -> None:
    with django_assert_num_queries(0):
        assert publish() == []


@pytest.mark.django_db
def test_events_of_an_aggregate_are_numbered_in_the_order_given(parcel_id: str) -> None:
    other = f"{parcel_id}-other"
    publish(ParcelSent(parcel_id=parcel_id))
    ids = publish(ParcelTracked(parcel_id=parcel_id), ParcelSent(parcel_id=other), ParcelTracked(parcel_id=parcel_id))

    assert sequences(parcel_id) == [1, 2, 3]
    assert sequences(other) == [1]
    archived = ArchivedEvent.objects.in_bulk(ids)
    assert [archived[event_id].sequence for event_id in ids] == [2, 1, 3]


@pytest.mark.django_db(transaction=True)
def test_under_concurrency_numbers_have_no_gap_and_follow_the_relay_order(parcel_id: str) -> None:
    together = threading.Barrier(6)

    def publish_some(writer: int) -> None:
        together.wait(10)
        try:
            for turn in range(20):
                with transaction.atomic():
                    # Opposite orders in the two halves: must not deadlock.
                    events = [ParcelSent(parcel_id=f"{parcel_id}-{aggregate}") for aggregate in "ab"]
                    publish(*(events if (writer + turn) % 2 else reversed(events)))
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(publish_some, writer) for writer in range(6)]:
            done.result(30)

    assert sequences(f"{parcel_id}-a") == sequences(f"{parcel_id}-b") == list(range(1, 121))


@pytest.mark.django_db(transaction=True)
def test_the_second_writer_of_an_aggregate_waits_for_the_first(parcel_id: str) -> None:
    """What makes relay order equal commit order: an event can't overtake one of its aggregate that is not committed."""
    second_began, second_done = threading.Event(), threading.Event()

    def second() -> None:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL application_name = 'second writer'")
                second_began.set()
                publish(ParcelTracked(parcel_id=parcel_id))
            second_done.set()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            publish(ParcelSent(parcel_id=parcel_id))
            waiting = pool.submit(second)
            assert second_began.wait(10)
            assert not second_done.wait(0.2)
        waiting.result(10)

    kinds = ArchivedEvent.objects.filter(aggregate_id=parcel_id).order_by("sequence").values_list("type", flat=True)
    assert list(kinds) == ["parcel.sent", "parcel.tracked"]


@pytest.mark.django_db(transaction=True)
def test_a_savepoint_that_rolls_back_takes_its_events_along(parcel_id: str) -> None:
    with transaction.atomic():
        publish(ParcelSent(parcel_id=parcel_id))
        with pytest.raises(ChangedMind):
            publish_and_fail(ParcelTracked(parcel_id=parcel_id))
        publish(ParcelTracked(parcel_id=parcel_id))
    assert sequences(parcel_id) == [1, 2]


@pytest.mark.django_db
def test_one_statement_holds_events_back_and_keeps_their_order(
    parcel_id: str, django_assert_num_queries: Callable[[int], Any]
) -> None:
    with django_assert_num_queries(1), single_statement():
        first = publish(ParcelSent(parcel_id=parcel_id))
        second = publish(ParcelTracked(parcel_id=parcel_id), ParcelTracked(parcel_id=parcel_id))
    archived = ArchivedEvent.objects.filter(aggregate_id=parcel_id).order_by("sequence")
    assert [event.pk for event in archived] == [*first, *second]


@pytest.mark.django_db
def test_one_statement_that_fails_records_nothing(parcel_id: str) -> None:
    with pytest.raises(ChangedMind), single_statement():
        publish_and_fail(ParcelSent(parcel_id=parcel_id))
    assert not ArchivedEvent.objects.filter(aggregate_id=parcel_id).exists()


@pytest.mark.django_db
def test_one_statement_lets_a_savepoint_roll_back(parcel_id: str) -> None:
    """A handler may try something in a savepoint and go on without it: then its event must not be published either."""
    with transaction.atomic(), single_statement():
        publish(ParcelSent(parcel_id=parcel_id))
        with pytest.raises(ChangedMind):
            publish_and_fail(ParcelTracked(parcel_id=parcel_id))
    assert sequences(parcel_id) == [1]
    assert ArchivedEvent.objects.get(aggregate_id=parcel_id).type == "parcel.sent"


@pytest.mark.django_db(transaction=True)
def test_publish_with_makes_change_and_events_one_statement(
    parcel_id: str, django_assert_num_queries: Callable[[int], Any]
) -> None:
    change = "noted AS (INSERT INTO subscription (consumer, routing_key, since) VALUES (%s, %s, now()))"
    with django_assert_num_queries(1):
        publish_with(change, [parcel_id, "100%"], ParcelSent(parcel_id=parcel_id), ParcelTracked(parcel_id=parcel_id))
    assert Subscription.objects.get(consumer=parcel_id).routing_key == "100%"
    assert sequences(parcel_id) == [1, 2]


@pytest.mark.django_db
def test_events_carry_the_action_that_caused_them(parcel_id: str) -> None:
    with caused_by(Cause("corr-1", user_id="jane")):
        (event_id,) = publish(ParcelSent(parcel_id=parcel_id))
    event = ArchivedEvent.objects.get(pk=event_id)
    assert (event.correlation_id, event.causation_id, event.user_id) == ("corr-1", None, "jane")


@pytest.mark.django_db
def test_events_of_a_handler_are_caused_by_the_event_it_handles(parcel_id: str) -> None:
    cause = delivered(ParcelSent(parcel_id=parcel_id), correlation_id="corr-2")
    with handling(cause.envelope, "parcel.track"):
        (implicit,) = publish(ParcelTracked(parcel_id=parcel_id))
    (explicit,) = publish(ParcelTracked(parcel_id=parcel_id), caused_by=cause)

    for event in ArchivedEvent.objects.filter(pk__in=[implicit, explicit]):
        assert (event.correlation_id, event.causation_id) == ("corr-2", cause.envelope.event_id)


@pytest.mark.django_db
def test_without_a_cause_each_publication_gets_a_correlation_id_of_its_own(parcel_id: str) -> None:
    publish(ParcelSent(parcel_id=parcel_id))
    publish(ParcelSent(parcel_id=parcel_id))
    assert ArchivedEvent.objects.filter(aggregate_id=parcel_id).values("correlation_id").distinct().count() == 2


@pytest.mark.django_db
def test_what_is_internal_is_archived_in_its_place_and_sent_to_nobody(parcel_id: str) -> None:
    first, _, last = publish(
        ParcelSent(parcel_id=parcel_id), ParcelWeighed(parcel_id=parcel_id), ParcelTracked(parcel_id=parcel_id)
    )
    archived = ArchivedEvent.objects.filter(aggregate_id=parcel_id).order_by("sequence")
    assert [event.type for event in archived] == ["parcel.sent", "parcel.weighed", "parcel.tracked"]
    assert [event.sequence for event in archived] == [1, 2, 3]
    waiting = Outbox.objects.filter(aggregate_id=parcel_id).order_by("position")
    assert [row.event_id for row in waiting] == [first, last]


@pytest.mark.django_db
def test_what_happened_at_a_stamped_moment_occurred_then(parcel_id: str) -> None:
    then = datetime(2026, 2, 1, tzinfo=UTC)
    publish(ParcelSent(parcel_id=parcel_id), at=then)
    publish_with("nothing AS (SELECT 1)", [], ParcelTracked(parcel_id=parcel_id), at=then)
    assert set(ArchivedEvent.objects.filter(aggregate_id=parcel_id).values_list("occurred_at", flat=True)) == {then}
