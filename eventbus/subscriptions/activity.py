"""When each consumer last handled an event of each contract: noted little by little, since the inbox is large."""

from datetime import UTC, datetime, timedelta

from django.db import connection, transaction

from eventbus.contracts.versions import ROUTING_KEY
from eventbus.ids import first_id_at

#: How far back the first search begins.
FIRST_SEARCH = timedelta(hours=1)
#: An event is looked for at least this long after it was published. What is handled later still is not noticed.
LATE = timedelta(minutes=2)

BEGIN = "SELECT min(coalesce(looked_at, %s)) FROM subscription"
# Both tables by their ids: only the partitions and pages of the last minutes are read.
NOTE = f"""
UPDATE subscription s SET heard_at = greatest(s.heard_at, h.moment), looked_at = %(now)s
FROM subscription b LEFT JOIN (
    SELECT p.consumer, {ROUTING_KEY} AS routing_key, max(p.processed_at) AS moment
    FROM processed_event p JOIN event e ON e.id = p.event_id
    WHERE p.event_id >= %(begin)s AND e.id >= %(begin)s AND p.outcome = 'done'
    GROUP BY 1, 2
) h ON h.consumer = b.consumer AND h.routing_key = b.routing_key
WHERE s.id = b.id
"""


def note_activity() -> None:
    """Search what was published since the last search, and note what was handled of it."""
    now = datetime.now(UTC)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BEGIN, [now - FIRST_SEARCH])
        (begin,) = cursor.fetchone() or (None,)
        if begin is not None:
            cursor.execute(NOTE, {"now": now, "begin": first_id_at(begin - LATE)})
