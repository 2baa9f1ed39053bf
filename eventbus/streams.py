"""An aggregate's stream of events as the place where a question is decided once.

Two apps may not both announce what excludes the other, such as an order's cancellation and its dispatch. Each asks here
before it publishes: the stream's lock lets one of them go first, and the other finds its event.
"""

from collections.abc import Iterable

from django.db import connection

# The order in which RECORD in `eventbus.publishing` locks them, so that the two cannot deadlock.
_LOCK = """
SELECT aggregate_id FROM stream WHERE aggregate_type = %s AND aggregate_id = ANY(%s::text[])
ORDER BY aggregate_type, aggregate_id FOR UPDATE
"""
_HAVING = """
SELECT DISTINCT aggregate_id FROM event WHERE aggregate_id = ANY(%s::text[]) AND aggregate_type = %s AND type = %s
"""


def hold(aggregate_type: str, aggregate_ids: Iterable[object], *, having: str) -> set[str]:
    """Close these streams to everyone else until this transaction ends; returns the ids of those with such an event.

    Take every other lock first: whoever publishes takes its streams' locks last. Raises RuntimeError outside a
    transaction.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("hold() belongs inside transaction.atomic(): outside of one its lock ends at once.")
    ids = [str(aggregate_id) for aggregate_id in aggregate_ids]
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [aggregate_type, ids])
        # A statement of its own: this one sees what the lock's last holder committed.
        cursor.execute(_HAVING, [ids, aggregate_type, having])
        return {aggregate_id for (aggregate_id,) in cursor.fetchall()}
