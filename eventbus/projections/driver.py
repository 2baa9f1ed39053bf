"""A rebuild from beginning to end: fill shadow tables, catch up, pause the consumer, let the tables change places.

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

from eventbus.db.locks import AdvisoryLock
from eventbus.db.sql import fetch, quoted
from eventbus.declaration import Consumer
from eventbus.errors import EventbusError
from eventbus.failpoints import failpoint
from eventbus.ids import first_id_at
from eventbus.projections.comparing import Differences, compare
from eventbus.projections.feeding import Progress, pass_over_archive, take_rest
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

# What the shadow tables have and the inbox has not will be a duplicate if it is ever delivered; dead letters among it
# are healed. The tables that go lack just these.
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
    """The shadow tables to go on with, and whether they are new. Those that other code began are thrown away."""
    shadow = rebuilt_tables(consumer)
    if shadow.exists and shadow.is_current():
        return shadow, False
    with transaction.atomic():
        shadow.drop()
        shadow.create()
    return shadow, True


def catch_up(shadow: ShadowTables, progress: Progress) -> None:
    """Take in what the archive has, until little is left. Raises HandlerFailed and RebuildRefused."""
    while pass_over_archive(shadow, progress) > LITTLE:
        pass
    execute(*(f"ANALYZE {quoted(shadow.schema, table)}" for table in shadow.consumer.tables))


def swap(shadow: ShadowTables, progress: Progress) -> Exchanged:
    """Put the shadow tables in the place of the live ones, which are kept in `old_…`.

    Raises ProjectionBusy with nothing done.
    """

    def attempt(patience: int) -> Exchanged:
        catch_up(shadow, progress)
        return _exchange(shadow, patience)

    done = _patiently(shadow.consumer, attempt)
    failpoint("rebuild.after_swap")
    return done


def differences(shadow: ShadowTables, show: int, progress: Progress) -> list[Differences]:
    """Compare the live tables with the shadow tables, both as of one moment. Raises ProjectionBusy."""

    def attempt(patience: int) -> list[Differences]:
        catch_up(shadow, progress)
        with ExitStack() as until_both_are_seen:
            until_both_are_seen.enter_context(pause.paused(shadow.consumer.name, patience))
            with transaction.atomic():
                take_rest(shadow, _sure_until(shadow))
            with transaction.atomic():
                execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1")
                # The snapshot stays as it is: the consumer may go on.
                until_both_are_seen.close()
                return compare(shadow, show)

    return _patiently(shadow.consumer, attempt)


def way_back(consumer: Consumer) -> ShadowTables:
    """The tables that the last exchange replaced. Raises RebuildRefused where there are none that fit."""
    shadow = old_tables(consumer)
    if not shadow.exists:
        raise RebuildRefused(
            f"There is no way back: {shadow.schema} does not exist. A rebuild makes it, --drop-old removes it."
        )
    if not shadow.fits():
        raise RebuildRefused(f"There is no way back: the tables have other columns now than those in {shadow.schema}.")
    return shadow


def _exchange(shadow: ShadowTables, patience: int) -> Exchanged:
    with transaction.atomic():
        pause.pause_until_commit(shadow.consumer.name, patience)
        began = monotonic()
        take_rest(shadow, _sure_until(shadow))
        with connection.cursor() as cursor:
            cursor.execute(_SETTLE.format(**notes_of(shadow)), [shadow.consumer.name])
            settled = cursor.rowcount
        execute(*(statement.format(**notes_of(shadow)) for statement in _START_OVER))
        # Last, so that readers wait for nothing but the exchange itself.
        execute(f"SET LOCAL lock_timeout = '{TABLE_PATIENCE}s'")
        exchange(shadow.live, shadow.schema, shadow.consumer.tables)
        old = old_tables(shadow.consumer)
        if shadow != old:
            old.drop()
            execute(f"ALTER SCHEMA {quoted(shadow.schema)} RENAME TO {quoted(old.schema)}")
        failpoint("rebuild.before_swap")
    return Exchanged(settled, monotonic() - began)


def _sure_until(shadow: ShadowTables) -> UUID:
    ((moment,),) = fetch(f"SELECT sure_until FROM {shadow.notes('state')}")
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
