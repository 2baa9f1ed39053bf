"""A rebuild from its beginning to its end: fill a copy, catch up, pause the consumer, let the tables change places.

Whatever dies, the next call goes on behind the last commit; and until the exchange commits, nobody else sees anything.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TypeVar
from uuid import UUID

from django.db import OperationalError, connection, transaction

from eventbus.consumer import Consumer
from eventbus.db.locks import AdvisoryLock
from eventbus.db.sql import fetch, quoted
from eventbus.errors import EventbusError
from eventbus.failpoints import failpoint
from eventbus.ids import first_id_at
from eventbus.projections.comparing import Differences, compare
from eventbus.projections.feeding import Progress, look_through, take_rest
from eventbus.projections.reading import notes_of
from eventbus.projections.shadow_tables import RebuildRefused, ShadowTables, old_tables, rebuilt_tables
from eventbus.projections.tables import exchange, execute
from eventbus.worker import pause
from eventbus.worker.failures import is_momentary

T = TypeVar("T")

#: Events at most that are left for the moment in which the consumer stands still.
LITTLE = 500
TRIES = 8
#: Seconds for which readers may queue behind the exchange.
TABLE_PATIENCE = 1

# What the copy has and the inbox has not will be a duplicate if it is ever delivered; dead letters among it are healed.
# The tables that go lack just these.
_SETTLE = """
WITH new AS (
    INSERT INTO processed_event AS known (event_id, consumer)
    SELECT event_id, %s FROM {applied} WHERE NOT done ORDER BY event_id
    ON CONFLICT (event_id, consumer) DO UPDATE SET outcome = 'done', processed_at = now() WHERE known.outcome <> 'done'
    RETURNING event_id
)
DELETE FROM {applied} a USING new WHERE a.event_id = new.event_id
"""
_START_OVER = (
    "UPDATE {applied} SET done = true WHERE NOT done",
    "TRUNCATE {position}",
    "UPDATE {state} SET sure_until = NULL",
)


class ProjectionBusy(EventbusError):
    """The consumer's runs, or readers of its tables, left no moment for the exchange."""


@dataclass(frozen=True)
class Exchanged:
    """What an exchange did: how many events the inbox had not as done before, and how long the consumer stood still."""

    settled: int
    seconds: float


@contextmanager
def only_one(consumer: Consumer) -> Iterator[None]:
    """One rebuild of a consumer at a time. Raises RebuildRefused where another one runs."""
    key = f"{AdvisoryLock.REBUILD}, hashtext(%s)"
    if fetch(f"SELECT pg_try_advisory_lock({key})", [consumer.name]) != [(True,)]:
        raise RebuildRefused(f"Another rebuild of {consumer.name} is running. Wait for its end.")
    try:
        yield
    finally:
        # A lost connection has let go of it.
        if connection.is_usable():
            fetch(f"SELECT pg_advisory_unlock({key})", [consumer.name])


def begin(consumer: Consumer) -> tuple[ShadowTables, bool]:
    """The copy to go on with, and whether it is new. One that other code began is thrown away."""
    copy = rebuilt_tables(consumer)
    if copy.exists and copy.is_current():
        return copy, False
    with transaction.atomic():
        copy.drop()
        copy.create()
    return copy, True


def catch_up(copy: ShadowTables, progress: Progress) -> None:
    """Take in what the archive has, until little is left. Raises HandlerFailed and RebuildRefused."""
    while look_through(copy, progress) > LITTLE:
        pass
    execute(*(f"ANALYZE {quoted(copy.schema, table)}" for table in copy.consumer.tables))


def swap(copy: ShadowTables, progress: Progress) -> Exchanged:
    """Put the copy's tables in the place of the live ones, which are kept in `old_…`.

    Raises ProjectionBusy with nothing done.
    """

    def attempt(patience: int) -> Exchanged:
        catch_up(copy, progress)
        return _exchange(copy, patience)

    done = _patiently(copy.consumer, attempt)
    failpoint("rebuild.after_swap")
    return done


def differences(copy: ShadowTables, show: int, progress: Progress) -> list[Differences]:
    """Compare the live tables with the copy, both as of one moment. Raises ProjectionBusy."""

    def attempt(patience: int) -> list[Differences]:
        catch_up(copy, progress)
        with ExitStack() as until_both_are_seen:
            until_both_are_seen.enter_context(pause.paused(copy.consumer.name, patience))
            with transaction.atomic():
                take_rest(copy, _sure_until(copy))
            with transaction.atomic():
                execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1")
                # The snapshot stays as it is: the consumer may go on.
                until_both_are_seen.close()
                return compare(copy, show)

    return _patiently(copy.consumer, attempt)


def way_back(consumer: Consumer) -> ShadowTables:
    """The tables that the last exchange replaced. Raises RebuildRefused where there are none that fit."""
    copy = old_tables(consumer)
    if not copy.exists:
        raise RebuildRefused(
            f"There is no way back: {copy.schema} does not exist. A rebuild makes it, --drop-old removes it."
        )
    if not copy.fits():
        raise RebuildRefused(f"There is no way back: the tables have other columns now than those in {copy.schema}.")
    return copy


def _exchange(copy: ShadowTables, patience: int) -> Exchanged:
    with transaction.atomic():
        pause.pause_until_commit(copy.consumer.name, patience)
        began = monotonic()
        take_rest(copy, _sure_until(copy))
        with connection.cursor() as cursor:
            cursor.execute(_SETTLE.format(**notes_of(copy)), [copy.consumer.name])
            settled = cursor.rowcount
        execute(*(statement.format(**notes_of(copy)) for statement in _START_OVER))
        # Last, so that readers wait for nothing but the exchange itself.
        execute(f"SET LOCAL lock_timeout = '{TABLE_PATIENCE}s'")
        exchange(copy.live, copy.schema, copy.consumer.tables)
        old = old_tables(copy.consumer)
        if copy != old:
            old.drop()
            execute(f"ALTER SCHEMA {quoted(copy.schema)} RENAME TO {quoted(old.schema)}")
        failpoint("rebuild.before_swap")
    return Exchanged(settled, monotonic() - began)


def _sure_until(copy: ShadowTables) -> UUID:
    ((moment,),) = fetch(f"SELECT sure_until FROM {copy.notes('state')}")
    return first_id_at(moment)


def _patiently(consumer: Consumer, attempt: Callable[[int], T]) -> T:
    """Try until the locks are free, with more patience each time, and none in between: others must get their turn."""
    for tries in range(TRIES):
        try:
            return attempt(min(2**tries, consumer.time_limit))
        except OperationalError as error:
            if not is_momentary(error):
                raise
            sleep(random.uniform(0.5, 1.0) * 2)
    raise ProjectionBusy(
        f"{consumer.name} or readers of its tables left no moment for the exchange, in {TRIES} tries. Nothing is lost: "
        "look for long queries in pg_stat_activity, and run it again."
    )
