"""What the bus promises of itself."""

from django.db import connection

from eventbus.monitoring import deliveries
from eventbus.monitoring.invariants import invariant

#: Violations that are named at most; more would be of no use to anybody.
MOST = 1000

# Behind the cut every number is there once, up to the stream's. What is left from before it proves nothing.
GAPS = """
WITH kept AS (
    SELECT aggregate_type, aggregate_id, count(*) AS events, count(DISTINCT e.sequence) AS numbers,
           max(e.sequence) AS last
    FROM event e LEFT JOIN stream_cut c USING (aggregate_type, aggregate_id)
    WHERE e.sequence > coalesce(c.sequence, 0) GROUP BY 1, 2
)
SELECT aggregate_type, aggregate_id, coalesce(events, 0), coalesce(last, 0), coalesce(c.sequence, 0) AS cut,
       coalesce(s.sequence, 0)
FROM stream s
FULL JOIN kept USING (aggregate_type, aggregate_id)
LEFT JOIN stream_cut c USING (aggregate_type, aggregate_id)
WHERE s.sequence IS DISTINCT FROM coalesce(last, c.sequence)
   OR events <> numbers OR events <> last - coalesce(c.sequence, 0)
LIMIT 1000
"""

GAP = "%s %s has %s events up to number %s, behind number %s that left the archive; its stream is at %s"

UNARCHIVED = """
SELECT position, event_id FROM outbox o WHERE NOT EXISTS (SELECT FROM event e WHERE e.id = o.event_id) LIMIT 1000
"""


@invariant("I3", "every event was handled by every consumer that listens, or waits in a queue or as a dead letter")
def unhandled_events() -> list[str]:
    return [str(loss) for loss in deliveries.missing(limit=MOST)]


@invariant("I3", "the events of an aggregate are numbered 1, 2, 3 … without a gap or a repeat")
def gaps_in_streams() -> list[str]:
    """Where a stream is not whole. What was pruned, or never imported, is not a gap."""
    with connection.cursor() as cursor:
        cursor.execute(GAPS)
        return [GAP % row for row in cursor.fetchall()]


@invariant("I3", "every outbox row has its event in the archive")
def unarchived_rows() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(UNARCHIVED)
        return [f"outbox row {position}: event {event_id} is not archived" for position, event_id in cursor.fetchall()]
