"""The delivery audit: for each consumer, what became of every event that it listens to.

Outbox, archive, inbox and subscriptions are compared inside the database: the archive is too large to be read out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from django.db import connection

from eventbus.broker.message import to_message
from eventbus.broker.publisher import ConfirmingPublisher, Outgoing
from eventbus.contracts.rows import WIRE_COLUMNS, WireFields
from eventbus.contracts.versions import ROUTING_KEY
from eventbus.ids import FROM_THE_START

REPAIR_WINDOW = 500

# A new consumer gets the archive little by little: what its backfill has before it is not lost, nor is what it has
# passed and what waits in the queue.
_REPLAYING = """EXISTS (SELECT FROM event_replay r
    WHERE r.consumer = s.consumer AND r.is_backfill AND r.state IN ('running', 'paused')
      AND s.routing_key = ANY(r.routing_keys) AND e.id <= r.upto)"""

_RETRYING = "EXISTS (SELECT FROM waiting_retry w WHERE w.event_id = e.id AND w.consumer = s.consumer)"

_LISTENED = f"""
FROM subscription s
JOIN event e ON s.routing_key = {ROUTING_KEY} AND e.occurred_at >= s.since
"""

BALANCE = f"""
SELECT s.consumer,
       CASE WHEN p.outcome IS NOT NULL THEN p.outcome
            WHEN o.event_id IS NOT NULL THEN 'outbox'
            WHEN {_RETRYING} THEN 'retrying'
            WHEN EXISTS (SELECT FROM dead_letter d WHERE d.event_id = e.id AND d.consumer = s.consumer) THEN 'dead'
            WHEN {_REPLAYING} THEN 'replaying'
            ELSE 'missing' END,
       count(*)
{_LISTENED}
LEFT JOIN processed_event p ON p.event_id = e.id AND p.consumer = s.consumer
LEFT JOIN outbox o ON o.event_id = e.id
GROUP BY 1, 2
"""

MISSING = f"""
SELECT s.consumer, {WIRE_COLUMNS}
{_LISTENED}
WHERE e.id > %s
  AND NOT EXISTS (SELECT FROM processed_event p WHERE p.event_id = e.id AND p.consumer = s.consumer)
  AND NOT EXISTS (SELECT FROM outbox o WHERE o.event_id = e.id)
  AND NOT {_RETRYING}
  AND NOT EXISTS (SELECT FROM dead_letter d WHERE d.event_id = e.id AND d.consumer = s.consumer)
  AND NOT {_REPLAYING}
ORDER BY e.id, s.consumer LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Missing:
    """An event that a consumer should have handled, and that is neither in its inbox nor on its way out."""

    consumer: str
    event: WireFields

    def __str__(self) -> str:
        return f"{self.consumer} has not handled {self.event.event_type} {self.event.event_id}"


def balance() -> dict[str, dict[str, int]]:
    """How many events each consumer has done, discarded, given up, keeps waiting, will get (`outbox`, `retrying`, or
    `replaying` while its backfill runs) and misses.

    What is in the broker counts as missing: only a drained pipeline has a true balance.
    """
    found: dict[str, dict[str, int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(BALANCE)
        for consumer, outcome, count in cursor.fetchall():
            found.setdefault(consumer, {})[outcome] = count
    return found


def missing(limit: int, after: UUID = FROM_THE_START) -> list[Missing]:
    """The first losses behind an event, by event and consumer."""
    with connection.cursor() as cursor:
        cursor.execute(MISSING, [after, limit])
        return [Missing(consumer, WireFields(*fields)) for consumer, *fields in cursor.fetchall()]


def repair(broker_url: str) -> Iterator[int]:
    """Send every missing event to the one consumer that misses it, from the archive; yields how many, by windows.

    Whoever handled it meanwhile ignores it. Raises one of SEND_ERRORS; sending all again does no harm then.
    """
    publisher = ConfirmingPublisher(broker_url)
    after = FROM_THE_START
    try:
        while window := missing(REPAIR_WINDOW, after):
            last = window[-1].event.event_id
            # The window may end between two consumers of one event: the next one begins with that event again.
            whole = [each for each in window if each.event.event_id != last] or window
            after = whole[-1].event.event_id
            yield len(publisher.send([to_consumer(each) for each in whole]))
    finally:
        publisher.close()


def to_consumer(loss: Missing) -> Outgoing:
    """The event as a message to this one consumer's queue."""
    message = to_message(loss.event)
    return Outgoing("", loss.consumer, message.body, message.properties)
