"""A stream as the place where a question is decided once. Its lock is tried by the races of the orders."""

import pytest
from django.db import connection, transaction

from eventbus import streams
from eventbus.publishing import publish
from eventbus.tests.samples import ParcelSent, ParcelTracked

pytestmark = pytest.mark.django_db


def test_it_tells_which_streams_have_such_an_event() -> None:
    publish(ParcelSent(parcel_id="a"), ParcelTracked(parcel_id="b"), ParcelTracked(parcel_id="c"))
    assert streams.hold("parcel", ["a", "b", "unknown"], having="parcel.tracked") == {"b"}
    assert streams.hold("order", ["b"], having="parcel.tracked") == set()
    assert streams.hold("parcel", [], having="parcel.tracked") == set()


def test_the_streams_are_locked_until_the_end() -> None:
    publish(ParcelSent(parcel_id="a"))
    with transaction.atomic():
        streams.hold("parcel", ["a"], having="parcel.tracked")
        with connection.cursor() as cursor:
            cursor.execute("SELECT xmax <> '0' FROM stream WHERE aggregate_id = 'a'")
            assert cursor.fetchone() == (True,)


@pytest.mark.django_db(transaction=True)
def test_it_insists_on_a_transaction() -> None:
    with pytest.raises(RuntimeError, match=r"transaction\.atomic"):
        streams.hold("parcel", ["a"], having="parcel.tracked")
