"""Recording events: archive, stream and outbox change together, in the transaction of what the events report."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from time import time
from typing import Any
from uuid import UUID

from django.db import connection

from eventbus.conf import bus_settings
from eventbus.contracts.casting import cast
from eventbus.contracts.event import Event
from eventbus.contracts.exact_json import encode_json
from eventbus.contracts.registry import CONTRACTS
from eventbus.db import clock
from eventbus.db.locks import AdvisoryLock
from eventbus.ids import new_id
from eventbus.recording.context import Cause, cause_of, current_cause

#: The channel on which an idle relay is woken. See `eventbus.relay.relay`.
WAKE_CHANNEL = "outbox"

# One statement, one parameter, whatever the number of events. The stream's row lock is taken before the outbox
# position is drawn, so that within an aggregate positions follow the commit order; ORDER BY keeps two transactions that
# touch the same streams from deadlocking. A relay is notified only if one is idle: NOTIFY takes a lock that all commits
# share.
RECORD = f"""incoming AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS t(
        place int, later int, internal boolean, id uuid, type text, version text,
        aggregate_type text, aggregate_id text,
        occurred_at timestamptz, correlation_id text, causation_id uuid, user_id text, data jsonb)
), streams AS (
    INSERT INTO stream (aggregate_type, aggregate_id, sequence)
    SELECT aggregate_type, aggregate_id, count(*) FROM incoming GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE SET sequence = stream.sequence + EXCLUDED.sequence
    RETURNING aggregate_type, aggregate_id, sequence
), numbered AS MATERIALIZED (
    SELECT i.*, s.sequence - i.later AS sequence
    FROM incoming i JOIN streams s ON s.aggregate_type = i.aggregate_type AND s.aggregate_id = i.aggregate_id
), archived AS (
    INSERT INTO event (id, type, version, aggregate_type, aggregate_id, sequence,
                       occurred_at, correlation_id, causation_id, user_id, data)
    SELECT id, type, version, aggregate_type, aggregate_id, sequence,
           occurred_at, correlation_id, causation_id, user_id, data FROM numbered
), queued AS (
    INSERT INTO outbox (event_id, aggregate_id) SELECT id, aggregate_id FROM numbered WHERE NOT internal ORDER BY place
)
SELECT CASE WHEN NOT pg_try_advisory_xact_lock_shared({AdvisoryLock.IDLE_RELAY})
            THEN pg_notify('{WAKE_CHANNEL}', '') END, {clock.DATABASE_TIME}"""

_Recorded = tuple[UUID, Event, Cause, datetime]


@dataclass
class _Buffer:
    """What single_statement() has not recorded yet, and how many savepoints were open when it began."""

    savepoints: int
    recorded: list[_Recorded] = field(default_factory=list)


_buffer: ContextVar[_Buffer | None] = ContextVar("buffer", default=None)
_refused: ContextVar[str] = ContextVar("refused", default="")


def publish(*events: Event, caused_by: Event | None = None, at: datetime | None = None) -> list[UUID]:
    """Record facts, in this order; the relay sends them after the commit. Returns their event ids.

    Correlation and causation come from what is being handled; `caused_by` names the event where a handler takes several
    at once. `at`: when it happened, where the change itself is stamped; else now. Raises RuntimeError outside a
    transaction.
    """
    _refuse_if_told()
    if not connection.in_atomic_block:
        raise RuntimeError(
            "publish() belongs inside transaction.atomic(): the event must commit with the change it reports."
        )
    cause = cause_of(caused_by.envelope) if caused_by is not None else current_cause()
    recorded = _stamp(events, cause, at)
    buffer = _buffer.get()
    # A savepoint may be rolled back alone, and its events with it: they are recorded inside it.
    if buffer is not None and buffer.savepoints == _open_savepoints():
        buffer.recorded.extend(recorded)
    else:
        _record(recorded)
    return [event_id for event_id, *_ in recorded]


def publish_with(change: str, params: Sequence[Any], *events: Event, at: datetime | None = None) -> list[UUID]:
    """Make a change and record its events in one SQL statement: one round trip, atomic by itself.

    `change` is one or more data-modifying CTEs (`name AS (INSERT …)`) without WITH. For hot paths only; elsewhere
    transaction.atomic() and publish() read better.
    """
    _refuse_if_told()
    recorded = _stamp(events, current_cause(), at)
    _execute(f"WITH {change}, {RECORD}", [*params, _as_json(recorded)])
    return [event_id for event_id, *_ in recorded]


@contextmanager
def single_statement() -> Iterator[None]:
    """Buffer what is published in this block and record it at its end, in one statement, in the order published.

    What is published inside a savepoint of its own is recorded at once, and so before the rest.
    """
    buffer = _Buffer(_open_savepoints())
    token = _buffer.set(buffer)
    try:
        yield
    finally:
        _buffer.reset(token)
    _record(buffer.recorded)


@contextmanager
def publishing_refused(why: str) -> Iterator[None]:
    """Inside, publishing raises RuntimeError: for code that handles events a second time."""
    token = _refused.set(why)
    try:
        yield
    finally:
        _refused.reset(token)


def _refuse_if_told() -> None:
    if why := _refused.get():
        raise RuntimeError(f"Nothing is published here: {why} Publish from another consumer.")


def _open_savepoints() -> int:
    # atomic(savepoint=False) leaves None in the list.
    return sum(1 for savepoint in connection.savepoint_ids if savepoint)


def _record(recorded: Sequence[_Recorded]) -> None:
    if recorded:
        _execute(f"WITH {RECORD}", [_as_json(recorded)])


def _execute(statement: str, params: Sequence[Any]) -> None:
    """Record, and look at the database's clock on the way."""
    before = time()
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        _, database = cursor.fetchone() or (None, before)
    clock.note(before, database, time())


def _stamp(events: Sequence[Event], cause: Cause, at: datetime | None) -> list[_Recorded]:
    now = at or clock.database_time()
    return [(new_id(), _as_recorded(event), cause, now) for event in events]


def _as_recorded(event: Event) -> Event:
    """In an older version for as long as settings say so: while code that knows no newer one is still at work."""
    held = bus_settings.RECORD_AS.get(event.type)
    return event if held is None else cast(event, CONTRACTS[event.type, str(held)])


def _as_json(recorded: Sequence[_Recorded]) -> str:
    """The rows for RECORD. `later` is how many events of the same aggregate follow, which numbers them backwards."""
    later: Counter[tuple[str, str]] = Counter()
    rows = []
    for place in range(len(recorded) - 1, -1, -1):
        event_id, event, cause, now = recorded[place]
        aggregate = (event.aggregate_type, event.aggregate_id)
        rows.append(
            {
                "place": place,
                "later": later[aggregate],
                "internal": event.internal,
                "id": event_id,
                "type": event.type,
                "version": event.version,
                "aggregate_type": event.aggregate_type,
                "aggregate_id": event.aggregate_id,
                "occurred_at": now,
                "correlation_id": cause.correlation_id,
                "causation_id": cause.causation_id,
                "user_id": cause.user_id,
                "data": event.model_dump(by_alias=True),
            }
        )
        later[aggregate] += 1
    return encode_json(rows).decode()
