"""A stream as the place where a question is decided once. Its lock is tried by the races of the orders."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import pytest
from django.db import connection, transaction

from eventbus.archive.models import ArchivedEvent
from eventbus.errors import StreamConflict
from eventbus.recording import streams
from eventbus.recording.publish import publish
from eventbus.tests.samples import ParcelSent, ParcelTracked

pytestmark = pytest.mark.django_db


def test_it_tells_which_streams_have_such_an_event() -> None:
    publish(ParcelSent(parcel_id="a"), ParcelTracked(parcel_id="b"), ParcelTracked(parcel_id="c"))
    assert streams.lock_streams(["a", "b", "unknown"], having=ParcelTracked) == {"b"}
    assert streams.lock_streams([], having=ParcelTracked) == set()


def test_the_streams_are_locked_until_the_end() -> None:
    publish(ParcelSent(parcel_id="a"))
    with transaction.atomic():
        streams.lock_streams(["a"], having=ParcelTracked)
        with connection.cursor() as cursor:
            cursor.execute("SELECT xmax <> '0' FROM stream WHERE aggregate_id = 'a'")
            assert cursor.fetchone() == (True,)


@pytest.mark.django_db(transaction=True)
def test_it_insists_on_a_transaction() -> None:
    with pytest.raises(RuntimeError, match=r"transaction\.atomic"):
        streams.lock_streams(["a"], having=ParcelTracked)
    with pytest.raises(RuntimeError, match=r"transaction\.atomic"):
        streams.expect_version(ParcelSent, "a", 0)


def test_a_stream_is_as_expected_or_has_moved() -> None:
    publish(ParcelSent(parcel_id="a"), ParcelTracked(parcel_id="a"))
    streams.expect_version(ParcelSent, "a", 2)
    streams.expect_version(ParcelSent, "unknown", 0)
    for wrong in (0, 1, 3):
        with pytest.raises(StreamConflict, match=f"event 2, not at {wrong}"), transaction.atomic():
            streams.expect_version(ParcelSent, "a", wrong)
    publish(ParcelSent(parcel_id="unknown"))
    assert list(ArchivedEvent.objects.filter(aggregate_id="unknown").values_list("sequence", flat=True)) == [1]


@pytest.mark.django_db(transaction=True)
def test_who_expects_first_is_the_only_one() -> None:
    parcel_id = f"p-{uuid4()}"
    start = Barrier(4)

    def decide(_: int) -> bool:
        start.wait(timeout=30)
        try:
            with transaction.atomic():
                streams.expect_version(ParcelSent, parcel_id, 0)
                publish(ParcelSent(parcel_id=parcel_id))
        except StreamConflict:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(decide, range(4), timeout=60)) == [False, False, False, True]
