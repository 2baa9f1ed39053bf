"""Reads of the archive as plain data, for APIs and pages: envelopes as they went on the wire. Amounts are Decimals."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import takewhile
from typing import Any
from uuid import UUID

from django.db import connection

from eventbus.contracts.casting import cast
from eventbus.contracts.codec import encode_envelope, from_row
from eventbus.contracts.event import Event
from eventbus.contracts.rows import WIRE_COLUMNS, WireFields

FIRST_ID = UUID(int=0)

_OF_AGGREGATE = f"""
SELECT {WIRE_COLUMNS}
FROM event e WHERE aggregate_id = %s ORDER BY sequence
"""
_LAST_OF_AGGREGATE = f"""
SELECT {WIRE_COLUMNS}
FROM event e WHERE aggregate_id = %s AND type = ANY(%s) AND sequence < %s ORDER BY sequence DESC LIMIT %s
"""
_BETWEEN = f"""
SELECT {WIRE_COLUMNS}
FROM event e WHERE type = ANY(%s) AND id >= %s AND id < %s ORDER BY id
"""
_END_OF_STEP = "SELECT id FROM event WHERE id >= %s AND id < %s ORDER BY id OFFSET %s LIMIT 1"

# The condition is asked of the streams it is about alone: what names another kind of thing may be no id of theirs.
_OF_CORRELATION = f"""
SELECT {WIRE_COLUMNS}
FROM event e WHERE correlation_id = %s AND id > %s AND CASE WHEN aggregate_type = %s THEN {{own}} ELSE false END
ORDER BY id LIMIT %s
"""


def events_of(aggregate_id: object) -> list[dict[str, Any]]:
    """All that happened to this thing, in order."""
    return _envelopes(_OF_AGGREGATE, [str(aggregate_id)])


def as_of(aggregate_id: object, contracts: Iterable[type[Event]], moment: datetime) -> list[dict[str, Any]]:
    """Its events of these contracts up to a moment, in order.

    That is up to the last one before which none of them occurred later: clocks that differ can't tear a history apart.
    """
    types = {contract.type for contract in contracts}
    events = (event for event in events_of(aggregate_id) if event["eventType"] in types)
    return list(takewhile(lambda event: datetime.fromisoformat(event["occurredAt"]) <= moment, events))


def last_events_of(
    aggregate_id: object, contracts: Iterable[type[Event]], *, before: int, limit: int
) -> list[dict[str, Any]]:
    """Its newest events of these contracts, newest first, at most `limit` of those with numbers below `before`.

    For streams that are too long to be read whole.
    """
    types = sorted({contract.type for contract in contracts})
    return _envelopes(_LAST_OF_AGGREGATE, [str(aggregate_id), types, before, limit])


def events_between(contracts: Iterable[type[Event]], first: UUID, end: UUID, *, limit: int) -> tuple[list[Event], UUID]:
    """Events of these contracts from one id up to another, which is not among them, oldest first; and the id from which
    to go on, which is `end` when there are no more.

    Looks at `limit` events of any contract, so that a step takes no longer where few are wanted. They come as a
    consumer of these contracts gets them: each in the version that is named here. Raises InvalidEvent.
    """
    read_as = {contract.type: contract for contract in contracts}
    with connection.cursor() as cursor:
        cursor.execute(_END_OF_STEP, [first, end, limit])
        (next_id,) = cursor.fetchone() or (end,)
        cursor.execute(_BETWEEN, [sorted(read_as), first, next_id])
        events = [from_row(WireFields(*row)) for row in cursor.fetchall()]
    return [cast(event, read_as[event.type]) for event in events], next_id


def events_of_correlation(
    correlation_id: str,
    contract: type[Event],
    *,
    own: str,
    params: Sequence[Any] = (),
    after: UUID = FIRST_ID,
    limit: int,
) -> list[dict[str, Any]]:
    """What one action of a user caused in the streams that this contract belongs to, in the order of ids: at most
    `limit` events behind the one with the id `after`.

    `own`: SQL, a condition on `e.aggregate_id`; only the events that fulfil it are read.
    """
    statement = _OF_CORRELATION.format(own=own)
    return _envelopes(statement, [correlation_id, after, contract.aggregate_type, *params, limit])


def _envelopes(sql: str, params: list[Any]) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows = cursor.fetchall()
    return [json.loads(encode_envelope(WireFields(*row)), parse_float=Decimal) for row in rows]
