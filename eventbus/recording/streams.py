"""An aggregate's stream of events as the place where a question is decided once.

Two apps may not both announce what excludes the other, such as an order's cancellation and its dispatch. Each asks here
before it publishes: the stream's lock lets one of them go first, and the other finds its event.
"""

from collections.abc import Iterable

from django.db import connection

from eventbus.contracts.event import Event
from eventbus.errors import StreamConflict

# The order in which RECORD in `eventbus.recording.publish` locks them, so that the two cannot deadlock.
_LOCK = """
SELECT aggregate_id FROM stream WHERE aggregate_type = %s AND aggregate_id = ANY(%s::text[])
ORDER BY aggregate_type, aggregate_id FOR UPDATE
"""

_HAVING = """
SELECT DISTINCT aggregate_id FROM event WHERE aggregate_id = ANY(%s::text[]) AND aggregate_type = %s AND type = %s
"""

# The row is there afterwards whatever was before: a stream without events can be locked as well.
_LOCK_ONE = """
INSERT INTO stream (aggregate_type, aggregate_id, sequence) VALUES (%s, %s, 0)
ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE SET sequence = stream.sequence RETURNING sequence
"""


def expect_version(contract: type[Event], aggregate_id: object, sequence: int) -> None:
    """Close the stream of this contract's aggregate to everyone else until this transaction ends, if `sequence` is the
    number of its last event, whatever its contract.

    0: it has none. Take every other lock first, as for lock_streams(). Raises StreamConflict, or RuntimeError outside a
    transaction.
    """
    _insist_on_a_transaction("expect_version")
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_ONE, [contract.aggregate_type, str(aggregate_id)])
        (found,) = cursor.fetchone()
    if found != sequence:
        raise StreamConflict(contract.aggregate_type, str(aggregate_id), sequence, found)


def lock_streams(aggregate_ids: Iterable[object], *, having: type[Event]) -> set[str]:
    """Close the streams of these aggregates to everyone else until this transaction ends; returns the ids of those that
    have an event of the contract `having`, whose kind of aggregate it is.

    Take every other lock first: whoever publishes takes its streams' locks last. Raises RuntimeError outside a
    transaction.
    """
    _insist_on_a_transaction("lock_streams")
    ids = [str(aggregate_id) for aggregate_id in aggregate_ids]
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [having.aggregate_type, ids])
        # A statement of its own: this one sees what the lock's last holder committed.
        cursor.execute(_HAVING, [ids, having.aggregate_type, having.type])
        return {aggregate_id for (aggregate_id,) in cursor.fetchall()}


def _insist_on_a_transaction(function: str) -> None:
    if not connection.in_atomic_block:
        raise RuntimeError(f"{function}() belongs inside transaction.atomic(): outside of one its lock ends at once.")
