"""What apps may read of the bus: as envelopes, and as something to join in SQL."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction

from eventbus.archive.models import ArchivedEvent
from eventbus.archive.reader import as_of, events_between, events_of, last_events_of
from eventbus.archive.subqueries import archived, archived_streams, cut_streams, done_by, ids_of_months, stream_ends
from eventbus.contracts.event import Event
from eventbus.db.sql import fetch
from eventbus.ids import new_id
from eventbus.recording.publish import publish
from eventbus.testing.bus import deliver, from_archive, prune_this_month
from eventbus.tests.samples import ParcelSent, ParcelTracked, ParcelWeighed, track

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def parcel_id() -> str:
    return f"p-{uuid4()}"


def sent(parcel_id: str) -> None:
    """A parcel that is weighed, sent and tracked, a minute after the other."""
    story: list[Event] = [ParcelWeighed(parcel_id=parcel_id), ParcelSent(parcel_id=parcel_id)]
    for minute, event in enumerate([*story, ParcelTracked(parcel_id=parcel_id)]):
        with transaction.atomic():
            publish(event, at=NOON + timedelta(minutes=minute))


def read(columns: str, source: str, parcel_id: str) -> list[tuple[Any, ...]]:
    """These columns of what an app joins, about this parcel, in order."""
    return fetch(f"SELECT {columns} FROM {source} AS known WHERE aggregate_id = %s ORDER BY sequence", [parcel_id])


def test_contracts_name_the_events_that_are_joined(parcel_id: str) -> None:
    sent(parcel_id)
    assert read("type", archived(ParcelSent, ParcelTracked), parcel_id) == [("parcel.sent",), ("parcel.tracked",)]
    assert read("sequence", archived_streams(ParcelSent), parcel_id) == [(1,), (2,), (3,)]
    assert read("sequence", stream_ends(ParcelSent), parcel_id) == [(3,)]


def test_what_is_joined_has_the_columns_of_an_envelope(parcel_id: str) -> None:
    sent(parcel_id)
    columns = "id, type, version, aggregate_type, sequence, occurred_at, correlation_id, causation_id, user_id, data"
    ((event_id, *rest, data),) = read(columns, archived(ParcelWeighed), parcel_id)
    event = ArchivedEvent.objects.get(pk=event_id)
    assert rest == ["parcel.weighed", "1.0", "parcel", 1, NOON, event.correlation_id, None, None]
    assert data == f'{{"parcelId": "{parcel_id}"}}'


def test_a_stream_that_was_pruned_is_cut_where_its_last_event_was(parcel_id: str) -> None:
    sent(parcel_id)
    assert read("sequence", cut_streams(ParcelSent), parcel_id) == []
    prune_this_month()
    assert read("sequence", cut_streams(ParcelSent), parcel_id) == [(3,)]
    assert read("sequence", archived_streams(ParcelSent), parcel_id) == []
    assert read("sequence", stream_ends(ParcelSent), parcel_id) == [(3,)]


def test_only_what_a_consumer_has_handled_is_done(parcel_id: str) -> None:
    sent(parcel_id)
    row = ArchivedEvent.objects.get(aggregate_id=parcel_id, type=ParcelSent.type)

    def done() -> list[tuple[object, ...]]:
        return fetch(f"SELECT event_id FROM {done_by(track)} AS done WHERE event_id = %s", [row.pk])

    assert done() == []
    deliver(from_archive(row), to=track)
    assert done() == [(row.pk,)]


def test_the_planner_sees_through_what_is_joined() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""EXPLAIN SELECT known.id FROM auth_user LEFT JOIN {archived(ParcelSent)} AS known
                    ON known.aggregate_id = username
                LEFT JOIN {cut_streams(ParcelSent)} AS cut ON cut.aggregate_id = username
                WHERE cut.sequence IS NULL AND NOT EXISTS (
                    SELECT FROM {done_by(track)} AS done WHERE done.event_id = known.id)"""
        )
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Subquery Scan" not in plan


def test_a_history_up_to_a_moment_ends_before_whatever_occurred_later(parcel_id: str) -> None:
    sent(parcel_id)
    with transaction.atomic():
        publish(ParcelTracked(parcel_id=parcel_id), at=NOON)  # by a clock that is two minutes behind
    known: list[type[Event]] = [ParcelWeighed, ParcelSent, ParcelTracked]

    def numbers(minutes: float, contracts: list[type[Event]]) -> list[int]:
        return [event["sequence"] for event in as_of(parcel_id, contracts, NOON + timedelta(minutes=minutes))]

    assert numbers(-0.1, known) == []
    assert numbers(1, known) == [1, 2]
    assert numbers(1, [ParcelWeighed]) == [1]
    assert numbers(2, known) == [1, 2, 3, 4]


def test_the_last_events_of_a_long_stream_come_newest_first(parcel_id: str) -> None:
    sent(parcel_id)
    every = events_of(parcel_id)
    assert last_events_of(parcel_id, [ParcelSent, ParcelTracked], before=4, limit=5) == [every[2], every[1]]
    assert last_events_of(parcel_id, [ParcelSent, ParcelTracked], before=3, limit=5) == [every[1]]
    assert last_events_of(parcel_id, [ParcelSent, ParcelTracked], before=4, limit=1) == [every[2]]


def test_ids_of_months_take_in_whole_months() -> None:
    first, end = ids_of_months(NOON, NOON)
    assert (first, end) == ids_of_months(datetime(2026, 3, 31, 23, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC))
    assert not first <= new_id() < end
    first, end = ids_of_months()
    assert first < new_id() < end


def test_events_between_two_ids_come_as_their_consumers_get_them(parcel_id: str) -> None:
    sent, weighed = ParcelSent(parcel_id=parcel_id), ParcelWeighed(parcel_id=parcel_id)
    with transaction.atomic():
        ids = publish(sent, weighed, weighed, sent, sent)
    found, next_id = events_between([ParcelSent], ids[0], ids[4], limit=10)
    assert [event.envelope.event_id for event in found] == [ids[0], ids[3]]
    assert next_id == ids[4]


def test_a_step_between_two_ids_looks_at_so_many_events_whatever_they_are(parcel_id: str) -> None:
    sent, weighed = ParcelSent(parcel_id=parcel_id), ParcelWeighed(parcel_id=parcel_id)
    with transaction.atomic():
        ids = publish(weighed, weighed, sent)
    assert events_between([ParcelSent], ids[0], new_id(), limit=2) == ([], ids[2])
    found, _ = events_between([ParcelSent], ids[2], new_id(), limit=2)
    assert [event.envelope.event_id for event in found] == ids[2:]
