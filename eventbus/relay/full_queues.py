"""Past a blocked key: every consumer whose queue has room gets its copy at once, and a full queue what it lacks
as soon as it has room again.

A copy goes straight to a consumer's queue, by the default exchange. Whoever else listens gets the event when the
exchange takes it: so the row stays until then, and the consumers see it a second time.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eventbus.broker.publisher import Outgoing
from eventbus.contracts.rows import WIRE_COLUMNS
from eventbus.declaration import CONSUMERS
from eventbus.relay.blocked_keys import Claimed

LACKING = """
SELECT o.aggregate_id, r.queue FROM outbox o JOIN refused_delivery r ON r.position = o.position
WHERE o.aggregate_id = ANY(%s) AND o.blocked_key IS NOT NULL
"""
NOTE = """
INSERT INTO refused_delivery (queue, position) SELECT DISTINCT * FROM unnest(%s::text[], %s::bigint[])
ON CONFLICT DO NOTHING
"""
FULL = "SELECT DISTINCT queue FROM refused_delivery"
CLAIM_REFUSED = f"""
SELECT o.position, {WIRE_COLUMNS}, NULL
FROM refused_delivery r JOIN outbox o ON o.position = r.position JOIN event e ON e.id = o.event_id
WHERE r.queue = %s ORDER BY r.position LIMIT %s FOR UPDATE OF r
"""
DELIVERED = "DELETE FROM refused_delivery WHERE queue = %s AND position = ANY(%s)"
PUBLISHED = "DELETE FROM refused_delivery WHERE position = ANY(%s)"


@dataclass(frozen=True, slots=True)
class Copy:
    """An event, by its place among the claimed, and the queue of a consumer that listens to it."""

    place: int
    queue: str


def listeners(routing_key: str) -> list[str]:
    """The queues of the declared consumers that read it, in whichever version they know."""
    return [consumer.name for consumer in CONSUMERS.values() if routing_key in consumer.reads]


def to_queue(message: Outgoing, queue: str) -> Outgoing:
    """The message to this one queue."""
    return replace(message, exchange="", routing_key=queue)


def deal(
    claimed: Sequence[Claimed], places: Iterable[int], full: Collection[str], lacking: Mapping[str, set[str]]
) -> tuple[list[Copy], list[Copy]]:
    """The copies of these events that may go, and those that may not: their queue is full, or lacks an earlier event of
    the aggregate. `lacking` has the queues that do, by aggregate."""
    go, stay = [], []
    behind = {aggregate: set(queues) for aggregate, queues in lacking.items()}
    for place in places:
        queues = behind.setdefault(claimed[place].aggregate_id, set())
        for queue in listeners(claimed[place].key):
            if queue in full or queue in queues:
                queues.add(queue)
                stay.append(Copy(place, queue))
            else:
                go.append(Copy(place, queue))
    return go, stay


def lacking(claimed: Sequence[Claimed], places: Iterable[int], full: Collection[str]) -> list[Copy]:
    """The copies of these events that full queues did not get."""
    return [Copy(place, queue) for place in places for queue in listeners(claimed[place].key) if queue in full]


def refused_copies(claimed: Sequence[Claimed], copies: Sequence[Copy], confirmed: Collection[int]) -> list[Copy]:
    """The copies that have to go again: what was refused, and what follows it at the same queue in its aggregate."""
    found, behind = [], set()
    for number, copy in enumerate(copies):
        line = (copy.queue, claimed[copy.place].aggregate_id)
        if number not in confirmed or line in behind:
            behind.add(line)
            found.append(copy)
    return found


def note(cursor: Any, claimed: Sequence[Claimed], copies: Sequence[Copy]) -> None:
    """Remember what these queues lack."""
    if copies:
        positions = [claimed[copy.place].position for copy in copies]
        cursor.execute(NOTE, [[copy.queue for copy in copies], positions])


def lacking_by_aggregate(cursor: Any, claimed: Iterable[Claimed]) -> dict[str, set[str]]:
    """The queues that lack earlier events, for the aggregates of which one waits already."""
    aggregates = sorted({each.aggregate_id for each in claimed if each.behind is not None})
    found: dict[str, set[str]] = {}
    if aggregates:
        cursor.execute(LACKING, [aggregates])
        for aggregate, queue in cursor.fetchall():
            found.setdefault(aggregate, set()).add(queue)
    return found
