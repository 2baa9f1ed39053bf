import re
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError, connection, transaction

from eventbus.archive.models import ArchivedEvent
from eventbus.archive.partitions import ensure_partitions, month_start, strays, strays_query
from eventbus.db.sql import fetch
from eventbus.ids import first_id_at, new_id
from eventbus.monitoring.bus_invariants import gaps_in_streams, unarchived_rows, unhandled_events
from eventbus.recording.models import Stream
from eventbus.recording.publish import publish
from eventbus.relay.models import Outbox
from eventbus.subscriptions.models import Subscription
from eventbus.testing.bus import published
from eventbus.tests.builders import handled, publish_at
from eventbus.tests.samples import Line, ParcelSent, track
from eventbus.worker.models import ProcessedEvent

pytestmark = pytest.mark.django_db


@pytest.fixture
def event() -> ArchivedEvent:
    (event_id,) = publish(ParcelSent(parcel_id=f"p-{uuid4()}"))
    return ArchivedEvent.objects.get(pk=event_id)


@pytest.mark.parametrize("change", ["UPDATE event SET type = 'x' WHERE id = %s", "DELETE FROM event WHERE id = %s"])
def test_the_database_refuses_to_change_what_happened(change: str, event: ArchivedEvent) -> None:
    with (
        pytest.raises(DatabaseError, match="permission denied for table event"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(change, [event.pk])
    assert ArchivedEvent.objects.get(pk=event.pk).type == "parcel.sent"


def parts_of_the_archive() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relid::regclass::text FROM pg_partition_tree('event')")
        return [name for (name,) in cursor.fetchall()]


CHANGES = ["UPDATE {} SET type = 'x'", "DELETE FROM {}", "TRUNCATE {}"]


@pytest.mark.parametrize("change", CHANGES)
def test_nobody_has_the_right_to_change_the_archive_or_a_part_of_it(change: str, event: ArchivedEvent) -> None:
    ensure_partitions(datetime(2031, 11, 5, tzinfo=UTC))
    parts = parts_of_the_archive()
    assert {"event", "event_default", "event_2031_11", f"event_{event.occurred_at:%Y_%m}"} <= set(parts)
    for part in parts:
        denied = pytest.raises(DatabaseError, match=f"permission denied for table {part}")
        with denied, transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change.format(part))


@pytest.mark.parametrize("change", CHANGES)
def test_the_triggers_refuse_whoever_has_the_right(change: str, event: ArchivedEvent) -> None:
    ensure_partitions(datetime(2031, 11, 5, tzinfo=UTC))
    new = ArchivedEvent.objects.create(
        id=first_id_at(datetime(2031, 11, 6, tzinfo=UTC)), type="parcel.sent", version="1.0", aggregate_type="parcel",
        aggregate_id="later", sequence=1, occurred_at=datetime.now(UTC), correlation_id="c", data={},
    )  # fmt: skip
    for part in ("event", "event_2031_11", f"event_{event.occurred_at:%Y_%m}"):
        with connection.cursor() as cursor:
            cursor.execute(f"GRANT UPDATE, DELETE, TRUNCATE ON {part} TO CURRENT_USER")
        refused = pytest.raises(DatabaseError, match="append-only")
        with refused, transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change.format(part))
    assert ArchivedEvent.objects.filter(pk__in=[event.pk, new.pk], type="parcel.sent").count() == 2


def test_money_comes_out_of_the_archive_as_it_went_in() -> None:
    sent = ParcelSent(parcel_id=f"p-{uuid4()}", weight=Decimal("0.10"), lines=(Line(sku="a", price=Decimal("79.90")),))
    publish(sent)
    (event,) = [each for each in published(ParcelSent) if each.parcel_id == sent.parcel_id]
    assert event == sent
    assert str(event.weight) == "0.10"


def test_ids_of_a_month_lie_in_its_partition() -> None:
    assert month_start(datetime(2024, 12, 31, 23, tzinfo=UTC), 1) == datetime(2025, 1, 1, tzinfo=UTC)
    assert month_start(datetime(2024, 11, 30, tzinfo=UTC), 14) == datetime(2026, 1, 1, tzinfo=UTC)
    now = datetime.now(UTC)
    assert first_id_at(month_start(now)) < new_id() < first_id_at(month_start(now, 1))
    assert first_id_at(datetime(1970, 1, 1, tzinfo=UTC)) == UUID(int=0)


def test_partitions_are_made_ahead_and_once() -> None:
    then = datetime(2031, 11, 5, tzinfo=UTC)
    months = ("2031_11", "2031_12", "2032_01", "2032_02")
    assert ensure_partitions(then) == [f"{table}_{month}" for table in ("event", "processed_event") for month in months]
    assert ensure_partitions(then) == []


def test_what_is_of_no_month_is_looked_for_in_the_default_partition_alone() -> None:
    ensure_partitions(datetime(2031, 11, 1, tzinfo=UTC))
    plan = "\n".join(line for (line,) in fetch(f"EXPLAIN {strays_query()}", [10]))
    assert set(re.findall(r" on (\w+)", plan)) == {"event_default", "processed_event_default"}


def test_what_came_before_its_month_was_made_is_moved_and_nobody_may_change_it() -> None:
    """The database's clock was months ahead for a moment."""
    now = datetime.now(UTC)
    soon, in_years = (UUID(int=first_id_at(month_start(now, ahead)).int | 7 << 76 | 2 << 62 | 1) for ahead in (4, 40))
    for event_id in (soon, in_years):
        publish_at(event_id)
        handled([event_id])
    assert ensure_partitions(now) == []

    made = ensure_partitions(month_start(now, 1))
    assert made == [f"{table}_{month_start(now, 4):%Y_%m}" for table in ("event", "processed_event")]
    assert strays() == [in_years]
    assert ArchivedEvent.objects.filter(pk__in=[soon, in_years]).count() == 2
    assert ProcessedEvent.objects.filter(event_id__in=[soon, in_years]).count() == 2
    for table in (made[0], "event_default"):
        with pytest.raises(DatabaseError, match="denied"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table}")


@pytest.mark.parametrize("event_id", [uuid4(), UUID("fedcba98-0000-7000-8000-000000000001")])
def test_an_id_that_fits_no_month_is_kept_all_the_same(event_id: UUID) -> None:
    ArchivedEvent.objects.create(
        id=event_id, type="parcel.sent", version="1.0", aggregate_type="parcel", aggregate_id=str(event_id), sequence=1,
        occurred_at=datetime.now(UTC), correlation_id="c", data={},
    )  # fmt: skip
    assert ArchivedEvent.objects.filter(pk=event_id).exists()


def test_verification_names_an_event_that_a_consumer_has_not_handled(event: ArchivedEvent) -> None:
    Subscription.objects.create(consumer="parcel.track", routing_key="parcel.sent.v1")
    Subscription.objects.update(since=event.occurred_at)
    complaint = f"parcel.track has not handled parcel.sent {event.pk}"
    assert complaint not in unhandled_events()  # it is still in the outbox

    Outbox.objects.filter(event_id=event.pk).delete()
    assert complaint in unhandled_events()

    ProcessedEvent.objects.create(event_id=event.pk, consumer=track.name, processed_at=event.occurred_at)
    assert complaint not in unhandled_events()


def test_events_from_before_the_subscription_are_not_missing(event: ArchivedEvent) -> None:
    Outbox.objects.filter(event_id=event.pk).delete()
    Subscription.objects.create(consumer="parcel.track", routing_key="parcel.sent.v1")
    assert not [line for line in unhandled_events() if str(event.pk) in line]


def archive(aggregate_id: str, *numbers: int) -> None:
    for number in numbers:
        ArchivedEvent.objects.create(
            id=new_id(), type="parcel.sent", version="1.0", aggregate_type="parcel", aggregate_id=aggregate_id,
            sequence=number, occurred_at=datetime.now(UTC), correlation_id="c", data={},
        )  # fmt: skip


@pytest.mark.parametrize("numbers", [(2, 2, 4), (3,), (2, 4), (2, 2)])
def test_verification_names_a_gap_and_a_repeat(event: ArchivedEvent, numbers: tuple[int, ...]) -> None:
    assert gaps(event.aggregate_id) == []
    archive(event.aggregate_id, *numbers)
    Stream.objects.filter(aggregate_id=event.aggregate_id).update(sequence=max(numbers))
    assert gaps(event.aggregate_id) == [
        f"parcel {event.aggregate_id} has {1 + len(numbers)} events up to number {max(numbers)}, behind number 0 "
        f"that left the archive; its stream is at {max(numbers)}"
    ]


def test_verification_names_a_stream_whose_last_event_is_lost(event: ArchivedEvent) -> None:
    Stream.objects.filter(aggregate_id=event.aggregate_id).update(sequence=2)
    assert len(gaps(event.aggregate_id)) == 1
    archive(event.aggregate_id, 2)
    assert gaps(event.aggregate_id) == []
    Stream.objects.filter(aggregate_id=event.aggregate_id).delete()
    assert len(gaps(event.aggregate_id)) == 1


def gaps(aggregate_id: str) -> list[str]:
    return [line for line in gaps_in_streams() if aggregate_id in line]


def test_verification_names_an_outbox_row_without_its_event() -> None:
    lost = uuid4()
    row = Outbox.objects.create(event_id=lost, aggregate_id="p1")
    assert f"outbox row {row.position}: event {lost} is not archived" in unarchived_rows()
