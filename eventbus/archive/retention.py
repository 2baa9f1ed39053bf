"""Retention: months that are older than ARCHIVE_DAYS leave the archive and the inbox, both at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection, transaction
from django.db.models import F

from eventbus.archive.models import PrunedMonth
from eventbus.archive.partitions import create_partitions, month_start, months, months_of_strays, without_strays
from eventbus.conf import bus_settings
from eventbus.db.clock import database_time
from eventbus.db.ddl import is_busy, without_queueing
from eventbus.db.locks import AdvisoryLock
from eventbus.db.sql import fetch
from eventbus.ids import first_id_at

log = structlog.get_logger(__name__)

#: Takes the end of the month that goes, and the smallest id that an event of then can have.
Preparation = Callable[[datetime, UUID], object]

preparations: list[Preparation] = []

OUTBOX = "SELECT count(*) FROM outbox WHERE event_id >= %(start)s AND event_id < %(end)s"
DEAD_LETTERS = """
SELECT count(*) FROM dead_letter
WHERE event_id >= %(start)s AND event_id < %(end)s AND state IN ('open', 'replaying')
"""
WAITING = """
SELECT count(*) FROM processed_event WHERE event_id >= %(start)s AND event_id < %(end)s AND outcome = 'waiting'
"""
REPLAYS = """
SELECT count(*) FROM event_replay
WHERE state IN ('running', 'paused') AND position < %(end)s AND upto >= %(start)s
"""
CUT = """
INSERT INTO stream_cut AS cut (aggregate_type, aggregate_id, sequence)
SELECT aggregate_type, aggregate_id, max(sequence) FROM event WHERE id >= %(start)s AND id < %(end)s GROUP BY 1, 2
ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE SET sequence = greatest(cut.sequence, EXCLUDED.sequence)
"""
OLD_STRAYS = """
SELECT (SELECT count(*) FROM event_default WHERE occurred_at < %(before)s)
     + (SELECT count(*) FROM processed_event_default WHERE processed_at < %(before)s)
"""
COUNT_STRAYS = "SELECT count(*) FROM event_default WHERE occurred_at < %(before)s"
NEEDED_STRAYS = """
WITH old AS (
    SELECT id FROM event_default WHERE occurred_at < %(before)s
    UNION SELECT event_id FROM processed_event_default WHERE processed_at < %(before)s
)
SELECT (SELECT count(*) FROM old JOIN outbox o ON o.event_id = old.id)
     + (SELECT count(*) FROM old JOIN dead_letter d ON d.event_id = old.id WHERE d.state IN ('open', 'replaying'))
     + (SELECT count(*) FROM old JOIN processed_event p ON p.event_id = old.id WHERE p.outcome = 'waiting')
"""
CUT_STRAYS = """
INSERT INTO stream_cut AS cut (aggregate_type, aggregate_id, sequence)
SELECT aggregate_type, aggregate_id, max(sequence) FROM event_default WHERE occurred_at < %(before)s GROUP BY 1, 2
ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE SET sequence = greatest(cut.sequence, EXCLUDED.sequence)
"""
COUNT = "SELECT count(*) FROM event WHERE id >= %(start)s AND id < %(end)s"


@dataclass(frozen=True)
class Month:
    """A month that is due, or was just pruned. `kept_because` says what it still waits for."""

    start: datetime
    events: int
    kept_because: list[str] = field(default_factory=list)

    @property
    def end(self) -> datetime:
        return month_start(self.start, 1)

    def __str__(self) -> str:
        return f"{self.start:%Y-%m}"


def before_pruning(prepare: Preparation) -> Preparation:
    """Register what must be done before a month's events go, such as keeping what was derived from them.

    It is called outside of any transaction, before each month, and again where that month could not go after all: what
    it has done already must be left as it is. Where it raises, the month stays.
    """
    preparations.append(prepare)
    return prepare


def due(now: datetime | None = None) -> list[Month]:
    """The months that end before the time to keep begins, the oldest first. Raises ImproperlyConfigured."""
    cutoff = _cutoff(now)
    return [_check(start) for start in months() if month_start(start, 1) <= cutoff]


def _cutoff(now: datetime | None) -> datetime:
    if bus_settings.ARCHIVE_DAYS < 1:
        raise ImproperlyConfigured(f"ARCHIVE_DAYS is {bus_settings.ARCHIVE_DAYS}: keep events for a day at least.")
    return (now or database_time()) - timedelta(days=bus_settings.ARCHIVE_DAYS)


def prune(now: datetime | None = None) -> Iterator[Month]:
    """Drop what is due, month by month from the oldest, and yield each; ends at the first that has to stay.

    What is of no month goes when it happened so long ago. Raises DatabaseError, and whatever a preparation raises.
    """
    cutoff = _cutoff(now)
    # What came with an id of a month that is over is of that month.
    create_partitions(sorted(months_of_strays(now or database_time())))
    if strays_before(cutoff) and (gone := without_queueing(lambda: _drop_strays(cutoff))):
        log.info("archive.strays_pruned", events=gone)
    for month in due(now):
        done = month if month.kept_because else _prune_month(month)
        if done is None:
            continue
        if done.kept_because:
            log.error("archive.month_kept", month=str(done), because=done.kept_because)
        else:
            log.info("archive.month_pruned", month=str(done), events=done.events)
        yield done
        if done.kept_because:
            return


def events_without_month() -> int:
    """How many events lie in the default partition."""
    return _count("SELECT count(*) FROM event_default")


def strays_before(moment: datetime) -> int:
    """How many rows of the default partition are of what happened before this moment."""
    return _count(OLD_STRAYS, {"before": moment})


def _drop_strays(before: datetime) -> int:
    """Returns how many events went: none while one of them is needed, as with a month."""
    if _count(NEEDED_STRAYS, {"before": before}):
        log.error("archive.strays_kept", because="one is in the outbox, an open dead letter, or waits behind one")
        return 0
    gone = _count(COUNT_STRAYS, {"before": before})
    with connection.cursor() as cursor:
        cursor.execute(CUT_STRAYS, {"before": before})
    moment = f"'{before.isoformat()}'"
    keep = {"event": f"occurred_at >= {moment}", "processed_event": f"processed_at >= {moment}"}
    without_strays(lambda: None, keep)
    return gone


def _check(start: datetime) -> Month:
    bounds = {"start": first_id_at(start), "end": first_id_at(month_start(start, 1))}
    found = {
        "events in the outbox: let the relay publish them": _count(OUTBOX, bounds),
        "open dead letters: replay or discard them": _count(DEAD_LETTERS, bounds),
        "events that wait behind a dead letter: replay or discard that one": _count(WAITING, bounds),
        "replays that are not done: wait for them or cancel them": _count(REPLAYS, bounds),
    }
    return Month(start, _count(COUNT, bounds), [f"{number} {what}" for what, number in found.items() if number])


def _prune_month(month: Month) -> Month | None:
    """None for a month that somebody else has pruned since."""
    for prepare in preparations:
        prepare(month.end, first_id_at(month.end))
    with _alone() as is_alone:
        if not is_alone:
            return Month(month.start, month.events, ["another prune_archive is at it: run it again later"])
        try:
            return without_queueing(lambda: _drop_month(month))
        except OperationalError as error:
            if not is_busy(error):
                raise
            return Month(month.start, month.events, ["traffic left no moment to drop it: run it again"])


def _drop_month(month: Month) -> Month | None:
    """One attempt, from the first lock to the last: where the month can't go now, nothing of it stays locked.

    Whoever waits for a closed month has begun to write to the table that the drop needs for itself: with the month kept
    closed until its moment comes, the two would wait for each other, and live events behind them.
    """
    tables = months().get(month.start)
    if tables is None:
        return None
    _close(tables)
    seen = _check(month.start)
    if seen.kept_because:
        transaction.set_rollback(True)
        return seen
    with connection.cursor() as cursor:
        cursor.execute(CUT, {"start": first_id_at(month.start), "end": first_id_at(month.end)})
    # A stray of a month that is long gone makes it go again.
    pruned, _ = PrunedMonth.objects.get_or_create(month=month.start.date(), defaults={"events": 0})
    PrunedMonth.objects.filter(pk=pruned.pk).update(events=F("events") + seen.events)
    _drop(tables)
    return seen


@contextmanager
def _alone() -> Iterator[bool]:
    """Whether nobody else prunes meanwhile. Over several transactions, so it is the session that has the lock."""
    ((is_alone,),) = fetch(f"SELECT pg_try_advisory_lock({AdvisoryLock.PRUNING})")
    try:
        yield bool(is_alone)
    finally:
        if is_alone:
            fetch(f"SELECT pg_advisory_unlock({AdvisoryLock.PRUNING})")


def _close(tables: list[str]) -> None:
    """Keep everybody from writing to this month, so that what is checked is what goes."""
    with connection.cursor() as cursor:
        for table in tables:
            # PostgreSQL lets only those lock a table who may change it. It goes, or this is rolled back.
            cursor.execute(f"GRANT UPDATE ON {table} TO CURRENT_USER")
            cursor.execute(f"LOCK TABLE {table} IN SHARE MODE")


def _drop(tables: list[str]) -> None:
    # DETACH … CONCURRENTLY would not stop anybody for a moment, but PostgreSQL refuses it where there is a default
    # partition. The inbox first, as consumers take the two.
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {', '.join(sorted(tables, reverse=True))}")


def _count(sql: str, params: dict[str, Any] | None = None) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        row = cursor.fetchone()
    return int(row[0]) if row else 0
