"""Taking events into shadow tables with the consumer's own handler, in transactions that also note which they were."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import DatabaseError, transaction

from eventbus.contracts.event import Event
from eventbus.db.sql import fetch
from eventbus.errors import EventbusError
from eventbus.failpoints import failpoint
from eventbus.ids import FROM_THE_START
from eventbus.projections.reading import ARCHIVE, LEFT_OUT, NAMED, Window, missing, next_window, notes_of
from eventbus.projections.shadow_tables import RebuildRefused, ShadowTables
from eventbus.recording.publish import publishing_refused
from eventbus.worker import inbox
from eventbus.worker.failures import is_momentary, is_outage
from eventbus.worker.telling import told

#: Events in a transaction. More make a set-wise handler no faster, and take memory.
WINDOW = 2_000

_APPLIED = """
WITH taken AS (
    INSERT INTO {applied} (event_id, done) SELECT * FROM unnest(%s::uuid[], %s::boolean[]) RETURNING event_id
), counted AS (
    UPDATE {state} SET applied = applied + (SELECT count(*) FROM taken)
)
DELETE FROM {left_out} l USING taken WHERE l.event_id = taken.event_id
"""
_LEFT_OUT = "INSERT INTO {left_out} SELECT unnest(%s::uuid[]) ON CONFLICT DO NOTHING"
_POSITIONS = """
INSERT INTO {position} AS known (aggregate_type, aggregate_id, sequence)
SELECT kind, key, max(sequence) FROM unnest(%s::text[], %s::text[], %s::int[]) AS t(kind, key, sequence) GROUP BY 1, 2
ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE SET sequence = greatest(known.sequence, EXCLUDED.sequence)
"""
# What was committed with an older id has been seen: ids are stamped inside transactions, and none is open for longer.
# Ten minutes more are for clocks that differ, and for those whose transactions we may not see.
_BEGIN = """
UPDATE {state} SET after_id = %s, sure_until = least(now(), (
    SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database())) - interval '10 minutes'
"""
# This backend's own counts: of this transaction, and of earlier ones that it has not reported yet.
_WRITES = """
SELECT relid::regclass::text, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_xact_user_tables
WHERE schemaname <> %s AND n_tup_ins + n_tup_upd + n_tup_del > 0
"""

#: Called after each commit with how many more events are in.
Progress = Callable[[int], None]


class HandlerFailed(EventbusError):
    """The handler can't take an event of the archive; the message names it and the error."""


def pass_over_archive(shadow: ShadowTables, progress: Progress) -> int:
    """Take in all that the archive has and the shadow tables lack, each window a commit; returns how many it was.

    A pass that was interrupted goes on where it was. Raises HandlerFailed and RebuildRefused.
    """
    ((after, sure_until),) = fetch(_named(shadow, "SELECT after_id, sure_until FROM {state}"))
    if sure_until is None or after == FROM_THE_START:
        fetch(_named(shadow, _BEGIN), [FROM_THE_START])
    taken = 0
    while True:
        with _without_collector(), transaction.atomic():
            window = next_window(shadow, ARCHIVE, {"after": after, "limit": WINDOW})
            after = window.last if window else FROM_THE_START
            if window:
                take_in(shadow, window)
            fetch(_named(shadow, "UPDATE {state} SET after_id = %s"), [after])
            failpoint("rebuild.in_window")
        failpoint("rebuild.after_window")
        if window is None:
            return taken
        taken += len(window.due)
        progress(len(window.due))


@contextmanager
def _without_collector() -> Iterator[None]:
    """Events refer to nothing that refers to them, and looking for such circles takes as long as reading them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def take_rest(shadow: ShadowTables, after: UUID) -> None:
    """Take in what came behind `after`, or was left out and is due now, inside the caller's transaction."""
    ids = missing(shadow, after)
    for start in range(0, len(ids), WINDOW):
        if window := next_window(shadow, NAMED, {"ids": ids[start : start + WINDOW]}):
            take_in(shadow, window)
    behind = FROM_THE_START
    while window := next_window(shadow, LEFT_OUT, {"after": behind, "limit": WINDOW}):
        take_in(shadow, window)
        behind = window.last


def take_in(shadow: ShadowTables, window: Window) -> None:
    """Let the handler write what is due into the shadow tables, and note all.

    Raises HandlerFailed and RebuildRefused.
    """
    if window.due:
        _handle(shadow, window.due)
        envelopes = [event.envelope for event in window.due]
        fetch(_named(shadow, _APPLIED), [[envelope.event_id for envelope in envelopes], window.done])
        if shadow.consumer.ordered:
            columns = zip(*((each.aggregate_type, each.aggregate_id, each.sequence) for each in envelopes), strict=True)
            fetch(_named(shadow, _POSITIONS), [list(column) for column in columns])
    if window.left_out:
        fetch(_named(shadow, _LEFT_OUT), [window.left_out])


def _handle(shadow: ShadowTables, events: list[Event]) -> None:
    consumer = shadow.consumer
    before = dict(fetch(_WRITES, [shadow.schema]))
    with shadow.in_sight(), publishing_refused(f"{consumer.name} is rebuilt: it may change its own tables only."):
        for part in [events] if consumer.batched else [[event] for event in events]:
            try:
                inbox.handle(consumer, part)
            except Exception as error:
                if isinstance(error, DatabaseError) and (is_outage(error) or is_momentary(error)):
                    raise
                cause = told(f"{type(error).__name__}: {error}", *part)
                raise HandlerFailed(f"{consumer.name} fails at {_name(part)}: {cause}") from error
    elsewhere = [table for table, writes in fetch(_WRITES, [shadow.schema]) if writes != before.get(table, 0)]
    if elsewhere:
        raise RebuildRefused(
            f"{consumer.name} also writes to {', '.join(elsewhere)}, and a rebuild would do that again. Name in "
            "tables=[…] all tables that it fills, write to them without a schema before the name, and leave any "
            "other effect to another consumer."
        )


def _name(events: list[Event]) -> str:
    first, last = events[0], events[-1]
    if first is last:
        return f"{first.type} {first.envelope.event_id}"
    return f"one of the {len(events)} events from {first.envelope.event_id} to {last.envelope.event_id}"


def _named(shadow: ShadowTables, statement: str) -> str:
    return statement.format(**notes_of(shadow))
