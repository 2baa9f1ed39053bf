"""What a relay takes of the outbox, and what it does with the rows afterwards."""

from collections.abc import Callable, Sequence
from typing import Any

from eventbus.broker.message import to_message
from eventbus.broker.publisher import Outgoing
from eventbus.contracts.rows import WIRE_COLUMNS, WireFields
from eventbus.db.locks import AdvisoryLock
from eventbus.relay.blocked_keys import Claimed

# Several relays take different rows. An aggregate of which another relay has an earlier row locked is left for the next
# round, so that its events go out in order; `elsewhere` reads only the rows before the last one claimed.
CLAIM = f"""
WITH claimed AS MATERIALIZED (
    SELECT position, event_id, aggregate_id FROM outbox WHERE blocked_key IS NULL
    ORDER BY position LIMIT %s FOR UPDATE SKIP LOCKED
), elsewhere AS MATERIALIZED (
    SELECT o.aggregate_id FROM outbox o
    WHERE o.blocked_key IS NULL
      AND o.position < (SELECT max(position) FROM claimed) AND o.position NOT IN (SELECT position FROM claimed)
)
SELECT c.position, {WIRE_COLUMNS},
       (SELECT h.blocked_key FROM outbox h WHERE h.aggregate_id = c.aggregate_id AND h.blocked_key IS NOT NULL
        ORDER BY h.position LIMIT 1)
FROM claimed c JOIN event e ON e.id = c.event_id
WHERE c.aggregate_id NOT IN (SELECT aggregate_id FROM elsewhere)
ORDER BY c.position
"""
# One relay at a time tries a key, so that no row it doesn't see is one that another has.
LOCK_KEY = f"SELECT pg_try_advisory_xact_lock({AdvisoryLock.BLOCKED_KEY}, hashtext(%s))"
CLAIM_BLOCKED = f"""
SELECT o.position, {WIRE_COLUMNS}, NULL
FROM outbox o JOIN event e ON e.id = o.event_id
WHERE o.blocked_key = %s AND NOT EXISTS (
    SELECT FROM outbox h
    WHERE h.aggregate_id = o.aggregate_id AND h.blocked_key <> o.blocked_key AND h.position < o.position
)
ORDER BY o.position LIMIT %s FOR UPDATE OF o
"""
BLOCK = """
UPDATE outbox SET blocked_key = t.key FROM unnest(%s::bigint[], %s::text[]) AS t(position, key)
WHERE outbox.position = t.position AND blocked_key IS DISTINCT FROM t.key
"""
SETTLE = "DELETE FROM outbox WHERE position = ANY(%s)"
BLOCKED = "SELECT DISTINCT blocked_key FROM outbox WHERE blocked_key IS NOT NULL"


def as_claimed(row: Sequence[Any], in_older: Callable[[WireFields], tuple[Outgoing, ...]] = lambda _: ()) -> Claimed:
    """A row of CLAIM or CLAIM_BLOCKED."""
    position, *fields, behind = row
    wire = WireFields(*fields)
    return Claimed(position, wire.aggregate_id, to_message(wire), behind, in_older(wire))
