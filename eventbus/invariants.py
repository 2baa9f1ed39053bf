"""What must hold over the whole database at any time. Apps add theirs; `manage.py verify_pipeline` checks them all."""

from collections.abc import Callable
from dataclasses import dataclass

from django.db import connection

Check = Callable[[], list[str]]


@dataclass(frozen=True)
class Invariant:
    """A named promise and the function that lists where it is broken; an empty list means that it holds."""

    code: str
    promise: str
    check: Check


registry: list[Invariant] = []


def invariant(code: str, promise: str) -> Callable[[Check], Check]:
    """Declare a check: `@invariant("I2", "stock adds up")` over a function that returns the violations."""

    def declare(check: Check) -> Check:
        registry.append(Invariant(code, promise, check))
        return check

    return declare


# Compared inside the database: the archive is too large to be read out.
MISSING = """
SELECT s.consumer, e.type, e.id
FROM subscription s
JOIN event e ON s.routing_key = e.type || '.v' || split_part(e.version, '.', 1) AND e.occurred_at >= s.since
WHERE NOT EXISTS (SELECT FROM processed_event p WHERE p.event_id = e.id AND p.consumer = s.consumer)
  AND NOT EXISTS (SELECT FROM outbox o WHERE o.event_id = e.id)
  AND NOT EXISTS (SELECT FROM dead_letter d WHERE d.event_id = e.id AND d.consumer = s.consumer)
ORDER BY e.id LIMIT 1000
"""
GAPS = """
SELECT aggregate_type, aggregate_id, count(*), max(sequence)
FROM event
GROUP BY aggregate_type, aggregate_id
HAVING count(*) <> max(sequence) OR count(DISTINCT sequence) <> count(*)
LIMIT 1000
"""
UNARCHIVED = """
SELECT position, event_id FROM outbox o WHERE NOT EXISTS (SELECT FROM event e WHERE e.id = o.event_id) LIMIT 1000
"""


@invariant("I3", "every event was handled by every consumer that listens, or waits in a queue or as a dead letter")
def unhandled_events() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(MISSING)
        return [f"{consumer} has not handled {kind} {event_id}" for consumer, kind, event_id in cursor.fetchall()]


@invariant("I3", "the events of an aggregate are numbered 1, 2, 3 … without a gap or a repeat")
def gaps_in_streams() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(GAPS)
        return [f"{kind} {key} has {count} events up to number {last}" for kind, key, count, last in cursor.fetchall()]


@invariant("I3", "every outbox row has its event in the archive")
def unarchived_rows() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(UNARCHIVED)
        return [f"outbox row {position}: event {event_id} is not archived" for position, event_id in cursor.fetchall()]
