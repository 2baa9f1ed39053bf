"""What a process makes of a clock that differs from the database's."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import time

import pytest
from django.db import connection, transaction

from eventbus.db import clock
from eventbus.ids import new_id, seconds_since
from eventbus.recording.publish import publish
from eventbus.tests.samples import ParcelSent

HOUR = 3600.0


@pytest.fixture(autouse=True)
def clocks_agree() -> Iterator[None]:
    clock._skew = None
    yield
    clock._skew = None


def database_says(difference: float, *, answered_in: float = 0.01) -> None:
    """The database's clock is ahead of ours by this much, and its answer took that long."""
    clock.note(before := time(), before + answered_in / 2 + difference, before + answered_in)


def ahead() -> float:
    return (clock.database_time() - datetime.now(UTC)).total_seconds()


def test_clocks_that_agree_are_left_alone_however_slow_the_answer() -> None:
    database_says(0.0)
    database_says(0.05)
    database_says(3.0, answered_in=10.0)
    assert clock.seconds_ahead() == 0


@pytest.mark.parametrize("difference", [HOUR, -HOUR])
def test_the_time_and_the_ids_are_the_databases(difference: float) -> None:
    database_says(difference)
    assert ahead() == pytest.approx(difference, abs=0.1)
    made = [new_id() for _ in range(1000)]
    assert made == sorted(made)
    assert made[0].version == 7
    assert (made[0].int >> 80) / 1000 == pytest.approx(time() + difference, abs=5)
    assert seconds_since(made[0]) < 5


def test_a_clock_that_is_set_right_is_trusted_again() -> None:
    database_says(HOUR)
    database_says(0.0)
    assert clock.seconds_ahead() == 0


@pytest.mark.django_db
def test_the_clock_is_looked_at_when_an_event_is_recorded() -> None:
    database_says(HOUR)
    with transaction.atomic():
        publish(ParcelSent(parcel_id="p"))
    assert clock.seconds_ahead() == 0


@pytest.mark.django_db(transaction=True)
def test_the_clock_is_looked_at_when_a_connection_opens() -> None:
    connection.close()
    database_says(HOUR)
    connection.ensure_connection()
    assert abs(ahead()) < timedelta(seconds=1).total_seconds()
