"""What the stock was: by moment, over months, with snapshots and without, and where the history ends."""

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventbus.testing import ArchivedEvent, ensure_partitions, prune_before
from inventory import past, snapshots, tasks
from inventory.history import Quantities
from inventory.invariants import stock_unlike_its_history
from inventory.models import Stock, StockSnapshot
from inventory.tests.builders import shelve, tell

pytestmark = pytest.mark.django_db

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    """So many days into 2026."""
    return NEW_YEAR + timedelta(days=number)


def stock_on(number: float) -> Quantities | None:
    found = past.stock_as_of("cup", day(number))
    return found.stock if found else None


def a_year_of_cups() -> None:
    tell(
        "cup",
        (day(10), "received", {"quantity": 100}),
        *((day(10 + n), "reserved", {"quantity": 1}) for n in range(1, 31)),
        (day(60), "received", {"quantity": 50}),
        *((day(60 + n), "shipped", {"quantity": 1}) for n in range(1, 31)),
    )


@pytest.mark.parametrize("every", [None, 1, 10, 1000])
def test_it_answers_for_every_moment(every: int | None) -> None:
    a_year_of_cups()
    if every is not None:
        snapshots.make_snapshots(every)
    assert stock_on(9.99) is None
    assert stock_on(10) == Quantities(100)
    assert stock_on(15.5) == Quantities(95, 5)
    assert stock_on(59) == Quantities(70, 30)
    assert stock_on(70) == Quantities(120, 20, 10)
    assert stock_on(200) == Quantities(120, 0, 30)


def test_it_takes_two_statements_and_reads_no_more_than_lies_between_snapshots() -> None:
    a_year_of_cups()
    snapshots.make_snapshots(10)
    ArchivedEvent.objects.create(
        id="018cc251-f400-7000-8000-000000000000", type="inventory.stock.received", version="1.0",
        aggregate_type="product", aggregate_id="cup", sequence=15, occurred_at=day(24), correlation_id="x",
        data={"quantity": 1_000_000},
    )  # fmt: skip
    with CaptureQueriesContext(connection) as captured:
        # The odd event's id is of years ago: whoever read that month would count it in.
        assert stock_on(25) == Quantities(85, 15)
    assert len(captured) == 2


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(minutes=st.lists(st.integers(0, 30), min_size=1, max_size=20), asked=st.integers(0, 30), every=st.integers(1, 5))
def test_clocks_that_differ_make_no_difference_between_snapshots_and_none(
    minutes: list[int], asked: int, every: int, db: None
) -> None:
    told = [(day(0) + timedelta(minutes=minute), "received", {"quantity": 1}) for minute in minutes]
    moment = day(0) + timedelta(minutes=asked)
    count = len(list(takewhile(lambda event: event[0] <= moment, told)))
    with transaction.atomic():
        tell("cup", *told)
        without = past.stock_as_of("cup", moment)
        snapshots.make_snapshots(every)
        assert past.stock_as_of("cup", moment) == without
        assert (without.sequence if without else 0) == count
        transaction.set_rollback(True)


def drop_january() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE event_2026_01")


def test_what_is_dropped_from_the_archive_leaves_the_answers_behind_it_as_they_were() -> None:
    ensure_partitions(day(0))
    a_year_of_cups()
    tell("vase", (day(3), "received", {"quantity": 7}))
    assert snapshots.snapshot_all(before=day(31)) == 2
    assert snapshots.snapshot_all(before=day(31)) == 0
    drop_january()
    assert stock_on(30.5) == Quantities(80, 20)
    assert stock_on(31) == Quantities(79, 21)
    assert stock_on(35) == Quantities(75, 25)
    assert stock_on(200) == Quantities(120, 0, 30)
    with pytest.raises(past.HistoryBegins, match="2026-01-31T00:00:00"):
        stock_on(29)
    vase = past.stock_as_of("vase", day(100))
    assert vase is not None
    assert vase.stock == Quantities(7)
    with pytest.raises(past.HistoryBegins):
        past.stock_as_of("vase", day(2))
    assert past.ledger("cup", limit=100)[-1].balance == Quantities(79, 21)
    assert snapshots.make_snapshots(10) == 4
    assert stock_unlike_its_history() == []


def test_pruning_keeps_what_the_rest_of_a_history_begins_with(settings: Any) -> None:
    ensure_partitions(day(0))
    a_year_of_cups()
    (january,) = prune_before(day(31))
    assert (january.events, january.kept_because) == (21, [])
    assert stock_on(31) == Quantities(79, 21)
    assert stock_on(200) == Quantities(120, 0, 30)
    assert stock_unlike_its_history() == []


def test_an_event_of_a_clock_that_was_ahead_outlives_its_balance(settings: Any) -> None:
    ensure_partitions(day(0))
    tell("cup", *((day(number), "received", {"quantity": 1}) for number in (1, 2, 32, 3, 40)))
    prune_before(day(31))
    assert [(entry.sequence, entry.balance) for entry in past.ledger("cup", limit=20)] == [
        (5, Quantities(5)),
        (3, None),
    ]
    assert stock_unlike_its_history() == []


def test_a_dropped_month_without_snapshots_is_noticed() -> None:
    ensure_partitions(day(0))
    a_year_of_cups()
    drop_january()
    assert snapshots.make_snapshots(10) == 0
    with pytest.raises(past.HistoryBroken, match="verify_pipeline"):
        stock_on(200)
    assert stock_unlike_its_history() == [
        "cup, stock: available 120, reserved 0, shipped 30; its history says None, None, None"
    ]


def test_a_gap_behind_a_snapshot_is_noticed() -> None:
    ensure_partitions(day(0))
    a_year_of_cups()
    snapshots.make_snapshots(10)
    drop_january()
    assert stock_on(40) == Quantities(70, 30)
    StockSnapshot.objects.filter(sequence__gt=20).delete()
    with pytest.raises(past.HistoryBroken):
        stock_on(40)


def test_the_task_makes_what_is_due_and_goes_on_from_there() -> None:
    a_year_of_cups()
    tell("vase", (day(3), "received", {"quantity": 7}))
    tasks.make_snapshots()
    assert not StockSnapshot.objects.exists()
    tell("jug", *((day(0), "received", {"quantity": 1}) for _ in range(2 * snapshots.EVERY + 1)))
    tasks.make_snapshots()
    assert [(each.sequence, each.available) for each in StockSnapshot.objects.order_by("sequence")] == [
        (snapshots.EVERY, snapshots.EVERY),
        (2 * snapshots.EVERY, 2 * snapshots.EVERY),
    ]
    assert snapshots.make_snapshots() == 0


def test_it_goes_through_more_products_than_one_statement_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "BATCH", 2)
    for number in range(5):
        tell(f"cup-{number}", (day(0), "received", {"quantity": 1}), (day(1), "reserved", {"quantity": 1}))
    assert snapshots.make_snapshots(2) == 5


def test_a_wrong_row_and_a_wrong_snapshot_are_found() -> None:
    a_year_of_cups()
    snapshots.make_snapshots(30)
    Stock.objects.update(available=119, received=149)
    StockSnapshot.objects.filter(sequence=30).update(reserved=28)
    assert stock_unlike_its_history() == [
        "cup, snapshot 30: available 71, reserved 28, shipped 0; its history says 71, 29, 0",
        "cup, stock: available 119, reserved 0, shipped 30; its history says 120, 0, 30",
    ]


def test_stock_that_no_event_tells_of_is_found() -> None:
    shelve("ghost", 3)
    tell("cup", (day(0), "received", {"quantity": 1}))
    Stock.objects.filter(pk="cup").delete()
    assert stock_unlike_its_history() == [
        "cup, stock: available None, reserved None, shipped None; its history says 1, 0, 0",
        "ghost, stock: available 3, reserved 0, shipped 0; its history says None, None, None",
    ]
