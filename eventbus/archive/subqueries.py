"""The archive as apps may read it inside the database.

Where an app compares its own tables with the archive there are too many events to read them out: it joins them in SQL.
These functions give it what to join, the text of a subquery. Its columns stay as they are, and what it looks for comes
from contracts and declarations, not from strings. PostgreSQL plans it as if the bus's tables stood there by name.

    f"SELECT o.id FROM orders_order o JOIN {archived(OrderConfirmed)} AS known ON known.aggregate_id = o.id::text"
"""

from datetime import datetime
from uuid import UUID

from eventbus.archive.partitions import month_start
from eventbus.contracts.event import Event
from eventbus.declaration import Consumer
from eventbus.ids import first_id_at

_COLUMNS = """id, type, version, aggregate_type, aggregate_id, sequence, occurred_at, correlation_id, causation_id,
    user_id, data"""
_FIRST_ID, _LAST_ID = UUID(int=0), UUID(int=2**128 - 1)


def archived(*contracts: type[Event]) -> str:
    """SQL: the events of these contracts in every version. Columns as in the envelope; `data` is jsonb."""
    types = ", ".join(sorted({_literal(contract.type) for contract in contracts}))
    return f"(SELECT {_COLUMNS} FROM event WHERE type IN ({types}))"


def archived_streams(contract: type[Event]) -> str:
    """SQL: all events of the streams that this contract's events belong to, whatever their contracts. As archived()."""
    return f"(SELECT {_COLUMNS} FROM event WHERE aggregate_type = {_literal(contract.aggregate_type)})"


def stream_ends(contract: type[Event]) -> str:
    """SQL: of each stream that this contract belongs to its `aggregate_id` and `sequence`, its last event's number."""
    return f"(SELECT aggregate_id, sequence FROM stream WHERE aggregate_type = {_literal(contract.aggregate_type)})"


def cut_streams(contract: type[Event]) -> str:
    """SQL: of such streams those that are not whole: up to `sequence` the events of `aggregate_id` are not archived.

    They were pruned or never imported, so nothing follows from their absence. Nor does anything follow from one that is
    left there because a clock was ahead.
    """
    return f"(SELECT aggregate_id, sequence FROM stream_cut WHERE aggregate_type = {_literal(contract.aggregate_type)})"


def done_by(consumer: Consumer) -> str:
    """SQL: `event_id` of what this consumer has handled. What failed, waits or was discarded is not among it."""
    return f"(SELECT event_id FROM processed_event WHERE consumer = {_literal(consumer.name)} AND outcome = 'done')"


def begun_before_restore(correlation_id: str) -> str:
    """SQL: whether this story, an expression, began before the database was last restored and reconciled.

    What it leads to may have been done already and be forgotten. Never true where nothing was restored.
    """
    return f"""EXISTS (SELECT FROM event WHERE correlation_id = {correlation_id}
        AND id < (SELECT first_id FROM reconciliation WHERE first_id IS NOT NULL ORDER BY first_id DESC LIMIT 1))"""


def ids_of_months(since: datetime | None = None, until: datetime | None = None) -> tuple[UUID, UUID]:
    """Between which ids the events from one moment to the other are, in whole months; None is open.

    Written into a query's text they leave the other months out of its plan. Closer bounds would tempt the planner to
    read everybody's events of that time, rather than all of one aggregate.
    """
    first = first_id_at(month_start(since)) if since else _FIRST_ID
    return first, first_id_at(month_start(until, 1)) if until else _LAST_ID


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
