import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection

from eventbus.ids import first_id_at, new_id
from eventbus.relay.admission import Admission
from eventbus.relay.lag import outbox_lag
from eventbus.relay.models import Outbox

pytestmark = pytest.mark.django_db


def waiting(event_id: UUID, **fields: object) -> Outbox:
    return Outbox.objects.create(event_id=event_id, aggregate_id=str(uuid4()), **fields)


def ago(seconds: float) -> UUID:
    return first_id_at(datetime.now(UTC) - timedelta(seconds=seconds))


def test_an_empty_outbox_is_not_behind() -> None:
    lag = outbox_lag(count_to=10)
    assert (lag.rows, lag.seconds) == (0, 0.0)


def test_the_lag_is_the_age_of_the_first_event() -> None:
    waiting(ago(100))
    waiting(new_id())
    lag = outbox_lag(count_to=10)
    assert lag.rows == 2
    assert 99 < lag.seconds < 102


def test_it_counts_no_further_than_asked() -> None:
    for _ in range(5):
        waiting(new_id())
    assert outbox_lag(count_to=3).rows == 3
    assert outbox_lag(count_to=5).rows == 5


def test_a_few_stragglers_over_many_positions_are_few() -> None:
    first = waiting(new_id())
    Outbox.objects.create(position=first.position + 10_000_000, event_id=new_id(), aggregate_id="a")
    assert outbox_lag(count_to=1_000_000).rows == 2


def test_what_waits_for_a_full_queue_counts_as_a_row_but_not_by_its_age() -> None:
    waiting(ago(5_000), blocked_key="parcel.sent.v1")
    waiting(ago(10))
    lag = outbox_lag(count_to=10)
    assert lag.rows == 2
    assert lag.seconds < 12


@pytest.mark.parametrize(("age", "limit", "waits"), [(100, 90, True), (100, 110, False)])
def test_the_gate_closes_at_the_limit_of_age(age: int, limit: int, waits: bool, settings: Any) -> None:
    settings.EVENTBUS_OUTBOX_LIMIT_SECONDS = limit
    waiting(ago(age))
    assert (Admission().seconds_to_wait() is not None) is waits


def test_the_gate_looks_once_a_second(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    now = time.monotonic()
    monkeypatch.setattr("eventbus.relay.admission.monotonic", lambda: now)
    admission = Admission()
    assert admission.seconds_to_wait() is None
    settings.EVENTBUS_OUTBOX_LIMIT_ROWS = 1
    waiting(new_id())
    assert admission.seconds_to_wait() is None
    now += 1.1
    assert admission.seconds_to_wait() == 5


def test_the_look_reads_the_ends_of_an_index(django_assert_num_queries: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT event_id FROM outbox LIMIT 1")  # the connection is open
    with django_assert_num_queries(1):  # type: ignore[operator]
        outbox_lag(count_to=1_000)
