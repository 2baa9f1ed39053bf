"""Rebuilding a projection: equal to a build from nothing, whatever else happens meanwhile."""

import os
import random
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from unittest.mock import patch

import pytest
from django.db import connection, transaction

from eventbus import failpoints
from eventbus.archive.models import ArchivedEvent as Archived
from eventbus.db.sql import fetch
from eventbus.declaration import Consumer
from eventbus.ids import new_id
from eventbus.projections import driver, feeding
from eventbus.projections.driver import ProjectionBusy
from eventbus.projections.feeding import HandlerFailed
from eventbus.projections.shadow_tables import RebuildRefused, old_tables, rebuilt_tables
from eventbus.recording.publish import publish
from eventbus.testing import wait_until
from eventbus.testing.bus import deliver
from eventbus.tests.projections import (
    PROJECTIONS,
    also,
    content,
    fill_shelves,
    follow,
    from_nothing,
    handled,
    listen,
    send,
    somebody_reads,
)
from eventbus.tests.samples import ParcelSent, ParcelTracked, track
from eventbus.worker import inbox
from eventbus.worker.models import OrderedPosition, ProcessedEvent

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("projected_tables")]


def rebuild(declared: Consumer = fill_shelves) -> driver.Exchanged:
    with driver.only_one(declared):
        shadow, _ = driver.begin(declared)
        return driver.swap(shadow, lambda _: None)


def back(declared: Consumer = fill_shelves) -> driver.Exchanged:
    with driver.only_one(declared):
        return driver.swap(driver.way_back(declared), lambda _: None)


def differences(declared: Consumer = fill_shelves) -> dict[str, int]:
    with driver.only_one(declared):
        shadow, _ = driver.begin(declared)
        (found,) = driver.differences(shadow, 5, lambda _: None)
    return {"missing": found.missing, "extra": found.extra, "different": found.different}


def spoil(statement: str) -> None:
    """Let the live table be what a bug made of it."""
    with connection.cursor() as cursor:
        cursor.execute(statement)


def test_what_a_bug_made_of_a_view_is_gone_after_a_rebuild() -> None:
    handled("a1", "a2", "b1")
    spoil("UPDATE shelf SET weight = weight + 1 WHERE name = 'a'")
    spoil("DELETE FROM shelf WHERE name = 'b'")
    assert differences() == {"missing": 1, "extra": 0, "different": 1}
    assert content(fill_shelves) == b"a\t2\t4.00\n", "to compare changes nothing"
    rebuild()
    assert content(fill_shelves) == b"a\t2\t3.00\nb\t1\t1.50\n"
    assert differences() == {"missing": 0, "extra": 0, "different": 0}


@pytest.mark.parametrize("declared", PROJECTIONS)
def test_windows_of_any_size_end_equal_to_a_build_from_nothing(
    declared: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "WINDOW", 3)
    for number in range(10):
        handled(f"a{number % 3}", "b1", f"c{number}", by=declared, weight=Decimal(number))
    rebuild(declared)
    assert content(declared) == from_nothing(declared)


def test_digits_that_mean_nothing_are_kept() -> None:
    handled("a1", weight=Decimal("1.0"))
    handled("a1", weight=Decimal("2.00"))
    rebuild()
    assert content(fill_shelves) == b"a\t2\t3.00\n"


def test_under_load_the_table_equals_a_build_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "WINDOW", 20)
    listen(fill_shelves)
    stopping, failures = threading.Event(), []

    def traffic(seed: int) -> None:
        """Publish, and deliver late, twice and out of order."""
        dice = random.Random(seed)
        kept: list[ParcelSent] = []
        try:
            # Paced, and bounded: a rebuild has to be faster than what it runs after, on a busy machine too.
            pace = iter(range(200))
            while not stopping.wait(0.02):
                if next(pace, None) is not None:
                    kept += send(*(f"{dice.choice('abc')}{dice.random()}" for _ in range(3)), weight=Decimal(seed))
                dice.shuffle(kept)
                # One by one: a batch would lock the shelves in any order, and threads that do so deadlock.
                for event in [kept.pop() for _ in range(min(len(kept), dice.randrange(5)))]:
                    deliver(event, to=fill_shelves)
                for again in dice.sample(kept, min(len(kept), 2)):
                    deliver(again, to=fill_shelves)
            for event in kept:
                deliver(event, to=fill_shelves)
        except Exception as error:  # noqa: BLE001  the test reports it
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=traffic, args=(seed,)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    try:
        for round_ in range(4):
            wanted = 100 * (round_ + 1)
            wait_until(lambda wanted=wanted: ProcessedEvent.objects.count() > wanted, 60, "events")  # type: ignore[misc]
            rebuild()
            assert differences() == {"missing": 0, "extra": 0, "different": 0}
        back()
    finally:
        stopping.set()
        for thread in threads:
            thread.join(60)
    assert failures == []
    assert content(fill_shelves) == from_nothing(fill_shelves)
    back()
    assert content(fill_shelves) == from_nothing(fill_shelves)


def test_an_event_that_is_on_its_way_has_one_effect() -> None:
    listen(fill_shelves)
    handled("a1")
    late = send("a2")
    assert rebuild().settled == 0
    assert content(fill_shelves) == b"a\t1\t1.50\n"
    assert [deliver(late, to=fill_shelves) for _ in range(2)] == [1, 0]
    assert content(fill_shelves) == b"a\t2\t3.00\n"


def test_events_from_before_it_listened_are_taken_in_and_never_again() -> None:
    earlier = send("a1", "b1")
    listen(fill_shelves)
    handled("a2")
    assert differences() == {"missing": 1, "extra": 0, "different": 1}
    assert rebuild().settled == 2
    assert deliver(earlier, to=fill_shelves) == 0
    assert content(fill_shelves) == b"a\t2\t3.00\nb\t1\t1.50\n"


def test_a_delivery_after_the_exchange_is_a_duplicate() -> None:
    events = handled("a1", "a2")
    rebuild()
    assert deliver(events, to=fill_shelves) == 0
    assert content(fill_shelves) == b"a\t2\t3.00\n"


@pytest.mark.parametrize("replayed", ["before", "meanwhile", "after"])
def test_a_dead_letter_has_one_effect_whenever_it_is_replayed(replayed: str) -> None:
    listen(fill_shelves)
    handled("a1")
    (dead,) = send("a2")
    inbox.mark_dead(fill_shelves, dead.envelope.event_id, 3)
    if replayed == "before":
        deliver(dead, to=fill_shelves)
    shadow, _ = driver.begin(fill_shelves)
    driver.catch_up(shadow, lambda _: None)
    if replayed == "meanwhile":
        deliver(dead, to=fill_shelves)
    rebuild()
    assert deliver(dead, to=fill_shelves) == (replayed == "after")
    assert content(fill_shelves) == b"a\t2\t3.00\n"


def test_what_was_left_out_is_found_in_the_last_moment_too() -> None:
    """Its id is far older than those that the last pass in the pause goes through again."""
    listen(fill_shelves)
    (dead,) = send("a1")
    inbox.mark_dead(fill_shelves, dead.envelope.event_id, 3)
    shadow, _ = driver.begin(fill_shelves)
    feeding.pass_over_archive(shadow, lambda _: None)
    deliver(dead, to=fill_shelves)
    spoil(f"UPDATE {shadow.notes('state')} SET sure_until = now() + interval '1 day'")
    with transaction.atomic():
        driver._exchange(shadow, 1)
    assert content(fill_shelves) == b"a\t1\t1.50\n"


def test_a_discarded_letter_stays_out() -> None:
    listen(fill_shelves)
    handled("a1")
    (dead,) = send("a2")
    inbox.mark_dead(fill_shelves, dead.envelope.event_id, 3)
    ProcessedEvent.objects.filter(event_id=dead.envelope.event_id).update(outcome="discarded")
    rebuild()
    assert content(fill_shelves) == b"a\t1\t1.50\n"


def test_the_exchange_waits_for_a_run_that_is_under_way() -> None:
    """The run has written to the live table and commits while the exchange waits: its event must not be missing."""
    listen(fill_shelves)
    handled("a1")
    (event,) = send("a2")
    began, go_on = threading.Event(), threading.Event()

    def wait(_: ParcelSent) -> None:
        if threading.current_thread() is run:
            began.set()
            assert go_on.wait(30)

    also["do"] = wait
    run, exchange = in_thread(lambda: deliver(event, to=fill_shelves)), in_thread(rebuild)
    run.start()
    assert began.wait(30)
    exchange.start()
    wait_until(waiting_for_locks, 30, "the exchange to wait")
    go_on.set()
    run.join(30)
    exchange.join(30)
    assert old_tables(fill_shelves).exists
    assert content(fill_shelves) == b"a\t2\t3.00\n"


def in_thread(act: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            act()
        finally:
            connection.close()

    return threading.Thread(target=run)


def test_a_run_that_waits_in_the_pause_fills_the_new_table() -> None:
    handled("a1")
    (event,) = send("a2")

    listen(fill_shelves)
    shadow, _ = driver.begin(fill_shelves)
    spoil("UPDATE shelf SET weight = 100")
    driver.catch_up(shadow, lambda _: None)
    with transaction.atomic():
        driver._exchange(shadow, 1)
        run = in_thread(lambda: deliver(event, to=fill_shelves))
        run.start()
        wait_until(waiting_for_locks, 30, "the run to wait")
    run.join(30)
    # Published before it listened, so the rebuild has it: the run finds its inbox row, whatever it saw before.
    assert content(fill_shelves) == b"a\t2\t3.00\n"


def waiting_for_locks() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
            "WHERE datname = current_database() AND NOT granted"
        )
        return int(cursor.fetchone()[0])


def test_only_projections_are_paused() -> None:
    def locks() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
            return int(cursor.fetchone()[0])

    seen = []
    also["do"] = lambda event: seen.append(locks())
    handled("a1")
    handled("b1", by=follow)
    assert seen == [1, 1]
    with patch("eventbus.tests.samples.publish", lambda *_: seen.append(locks())):
        deliver(send("c1"), to=track)
    assert seen == [1, 1, 0]


def test_a_reader_of_the_table_is_not_kept_waiting() -> None:
    handled("a1")
    with somebody_reads("shelf"), patch.object(driver, "TRIES", 1), pytest.raises(ProjectionBusy):
        rebuild()
    rebuild()


def test_the_way_back_misses_nothing() -> None:
    listen(fill_shelves)
    handled("a1")
    spoil("UPDATE shelf SET weight = 100")
    (dead,) = send("a2")
    inbox.mark_dead(fill_shelves, dead.envelope.event_id, 3)
    rebuild()
    handled("a3")
    deliver(dead, to=fill_shelves)
    assert content(fill_shelves) == b"a\t3\t4.50\n"
    back()
    assert content(fill_shelves) == b"a\t3\t103.00\n"
    handled("a4")
    back()
    assert content(fill_shelves) == b"a\t4\t6.00\n", "and there again"


def test_a_second_rebuild_replaces_the_old_tables() -> None:
    handled("a1")
    spoil("UPDATE shelf SET weight = 100")
    rebuild()
    spoil("UPDATE shelf SET weight = 200")
    rebuild()
    back()
    assert content(fill_shelves) == b"a\t1\t200\n"


def test_there_is_no_way_back_without_old_tables_or_to_other_columns() -> None:
    handled("a1")
    with pytest.raises(RebuildRefused, match="no way back"):
        back()
    rebuild()
    spoil("ALTER TABLE shelf ADD COLUMN place text")
    with pytest.raises(RebuildRefused, match="other columns"):
        back()


def test_an_ordered_projection_keeps_its_order() -> None:
    listen(follow)
    events = [event for n in range(6) for event in send("p1", weight=Decimal(n))]
    deliver(events[:4], to=follow)
    # The archive's ids need not be in the order of the aggregate.
    with patch.object(feeding, "WINDOW", 2):
        rebuild(follow)
    assert content(follow) == b"p1\t0 1 2 3\n"
    assert OrderedPosition.objects.get(consumer=follow.name).sequence == 4
    deliver(events[5], to=follow)
    assert content(follow) == b"p1\t0 1 2 3 4 5\n" == from_nothing(follow)


def test_an_ordered_projection_waits_behind_a_dead_letter_as_before() -> None:
    listen(follow)
    events = [event for n in range(4) for event in send("p1", weight=Decimal(n))]
    deliver(events[0], to=follow)
    inbox.mark_dead(follow, events[1].envelope.event_id, 3)
    deliver(events[2], to=follow)
    rebuild(follow)
    assert content(follow) == b"p1\t0\n"
    deliver(events[1], to=follow)
    deliver(events[3], to=follow)
    assert content(follow) == b"p1\t0 1 2 3\n"


def test_ids_out_of_order_are_handled_in_the_aggregates_order() -> None:
    now = datetime.now(UTC)
    for sequence in (2, 1):
        event = Archived.objects.create(
            id=new_id(), type="parcel.sent", version="1.0", aggregate_type="parcel", aggregate_id="p1",
            sequence=sequence, occurred_at=now, correlation_id="c", data={"parcelId": "p1", "weight": sequence},
        )  # fmt: skip
        ProcessedEvent.objects.create(event_id=event.pk, consumer=follow.name, processed_at=now)
    with patch.object(feeding, "WINDOW", 1):
        rebuild(follow)
    assert content(follow) == b"p1\t1 2\n"


def test_a_handler_that_fails_is_named_with_its_event_and_the_live_table_stays() -> None:
    (event,) = handled("a1")

    def fail(_: ParcelSent) -> None:
        raise ValueError("no such shelf")

    also["do"] = fail
    with pytest.raises(HandlerFailed, match=f"parcel.sent {event.envelope.event_id}: ValueError: no such shelf"):
        rebuild()
    assert content(fill_shelves) == b"a\t1\t1.50\n"
    also.clear()
    rebuild()
    assert content(fill_shelves) == b"a\t1\t1.50\n"


def test_a_handler_that_publishes_is_refused() -> None:
    handled("a1")

    def announce(event: ParcelSent) -> None:
        publish(ParcelTracked(parcel_id=event.parcel_id))

    also["do"] = announce
    with pytest.raises(HandlerFailed, match="Nothing is published here"):
        rebuild()


def test_a_handler_that_writes_to_other_tables_is_refused() -> None:
    handled("a1")
    also["do"] = lambda _: spoil("INSERT INTO journey (parcel, stations) VALUES ('p1', '')")
    with pytest.raises(RebuildRefused, match="also writes to journey"):
        rebuild()
    also["do"] = lambda _: spoil("UPDATE public.shelf SET parcels = 9")
    with pytest.raises(RebuildRefused, match="also writes to shelf"):
        rebuild()
    assert content(fill_shelves) == b"a\t1\t1.50\n"
    assert content(follow) == b""


def test_a_copy_that_other_code_began_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    handled("a1")
    shadow, _ = driver.begin(fill_shelves)
    also["do"] = lambda event: spoil("UPDATE shelf SET weight = 100")
    driver.catch_up(shadow, lambda _: None)
    also.clear()
    assert driver.begin(fill_shelves) == (shadow, False)
    spoil(f"UPDATE {shadow.notes('state')} SET code = 'older'")
    assert driver.begin(fill_shelves) == (shadow, True)
    rebuild()
    assert content(fill_shelves) == b"a\t1\t1.50\n"


def test_a_consumer_that_is_no_projection_is_refused_with_advice() -> None:
    with pytest.raises(RebuildRefused, match=r"tables=\[Model"):
        rebuild(track)


def test_a_second_rebuild_at_the_same_time_is_refused() -> None:
    refused = []

    def second() -> None:
        try:
            rebuild()
        except RebuildRefused as error:
            refused.append(str(error))
        finally:
            connection.close()

    with driver.only_one(fill_shelves):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(30)
    assert refused == ["Another rebuild of parcel.fill_shelves is running. Wait for its end."]


def die_at(failpoint: str, act: Callable[[], object]) -> None:
    """Run it in a process of its own that is killed there, and wait until the server has noticed."""
    connection.close()
    child = os.fork()
    if child == 0:
        failpoints.ACTIVE = failpoint
        act()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL

    def is_free() -> bool:
        try:
            with driver.only_one(fill_shelves):
                return True
        except RebuildRefused:
            return False

    wait_until(is_free, 30, "the server to notice")


@pytest.mark.parametrize("windows", [0, 1])
@pytest.mark.parametrize("failpoint", ["in_window", "after_window", "before_swap", "after_swap"])
def test_killed_anywhere_the_next_call_goes_on(failpoint: str, windows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "WINDOW", 2)
    events = handled("a1", "a2", "b1", "b2", "c1")
    if windows:
        driver.catch_up(driver.begin(fill_shelves)[0], lambda _: None)
        events += handled("c2", "d1", "d2")
    spoil("UPDATE shelf SET weight = 100")
    spoilt = content(fill_shelves)
    die_at(f"rebuild.{failpoint}", rebuild)
    assert (content(fill_shelves) == spoilt) == (failpoint != "after_swap"), "all or nothing"
    rebuild()
    assert content(fill_shelves) == from_nothing(fill_shelves)
    assert deliver(events, to=fill_shelves) == 0
    assert not rebuilt_tables(fill_shelves).exists


@pytest.mark.parametrize("failpoint", ["in_window", "before_swap", "after_swap"])
def test_killed_on_the_way_back_the_next_call_goes_on(failpoint: str) -> None:
    handled("a1")
    spoil("UPDATE shelf SET weight = 100")
    rebuild()
    handled("a2")
    die_at(f"rebuild.{failpoint}", back)
    if failpoint != "after_swap":
        back()
    assert content(fill_shelves) == b"a\t2\t101.50\n"


def test_abandoned_it_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    handled("a1", "a2", "a3")
    monkeypatch.setattr(feeding, "WINDOW", 1)
    before = catalogue()
    die_at("rebuild.after_window", rebuild)
    assert catalogue() != before
    rebuilt_tables(fill_shelves).drop()
    assert catalogue() == before


def catalogue() -> list[tuple[str, ...]]:
    return fetch(
        "SELECT nspname, relname, relkind FROM pg_class c RIGHT JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE n.nspname NOT LIKE 'pg\\_t%%' ORDER BY 1, 2"
    )


def test_names_indexes_checks_grants_and_settings_come_along() -> None:
    spoil("GRANT SELECT ON shelf, journey TO PUBLIC")
    spoil("GRANT UPDATE (stations) ON journey TO pg_monitor WITH GRANT OPTION")
    spoil("ALTER TABLE shelf SET (fillfactor = 70)")
    handled("a1")
    handled("p1", by=follow)
    before = described()
    rebuild()
    rebuild(follow)
    assert described() == before
    back(follow)
    assert described() == before
    handled("p2", by=follow)


def described() -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT t.relname, t.relacl::text, t.reloptions, a.attname, a.attacl::text, a.attidentity::text, NULL
            FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0
            WHERE t.oid IN ('public.shelf'::regclass, 'public.journey'::regclass)
            UNION ALL
            SELECT tablename, indexname, NULL, indexdef, NULL, NULL, NULL FROM pg_indexes
            WHERE schemaname = 'public' AND tablename IN ('shelf', 'journey')
            UNION ALL
            SELECT conrelid::regclass::text, conname, NULL, pg_get_constraintdef(oid), NULL, NULL, NULL
            FROM pg_constraint WHERE conrelid IN ('public.shelf'::regclass, 'public.journey'::regclass)
            ORDER BY 1, 2, 4
        """)
        return list(cursor.fetchall())


@pytest.mark.parametrize(
    ("statement", "lost"),
    [
        ("CREATE VIEW heavy AS SELECT * FROM shelf", "shelf: the view heavy"),
        ("ALTER TABLE journey ADD FOREIGN KEY (parcel) REFERENCES shelf", "shelf: the foreign key"),
        ("ALTER TABLE shelf ADD COLUMN number serial", "shelf: the sequence shelf_number_seq"),
    ],
)
def test_a_table_that_would_lose_something_is_refused(statement: str, lost: str) -> None:
    spoil(statement)
    try:
        with pytest.raises(RebuildRefused, match=lost):
            rebuild()
        assert not rebuilt_tables(fill_shelves).exists
    finally:
        spoil("DROP VIEW IF EXISTS heavy; ALTER TABLE journey DROP CONSTRAINT IF EXISTS journey_parcel_fkey")


def test_old_copies_belong_to_their_consumer() -> None:
    rebuild()
    spoil("UPDATE old_parcel_fill_shelves.rebuild_state SET consumer = 'parcel_fill.shelves'")
    with pytest.raises(RebuildRefused, match="another consumer"):
        old_tables(fill_shelves)
    spoil("UPDATE old_parcel_fill_shelves.rebuild_state SET consumer = 'parcel.fill_shelves'")
