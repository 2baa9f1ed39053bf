"""How far consumers had come by some moment, as far as the database alone can tell."""

from collections.abc import Collection
from datetime import datetime

from django.db import connection

from eventbus.contracts.versions import ROUTING_KEY
from eventbus.declaration import CONSUMERS
from eventbus.ids import first_id_at

# OFFSET 0 keeps the planner from reading everybody's events of that time. A consumer's last event is looked for between
# the oldest that is asked about and the moment itself, so that neither a consumer that rarely hears something nor an id
# from the future makes it read the whole inbox.
_UNDER_WAY = f"""
WITH listening AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS t(consumer, routing_key)),
told AS MATERIALIZED (
    SELECT asked.id AS aggregate_id, found.id, listening.consumer
    FROM unnest(%s::text[]) AS asked(id)
    CROSS JOIN LATERAL (
        SELECT e.id, {ROUTING_KEY} AS routing_key FROM event e WHERE e.aggregate_id = asked.id OFFSET 0
    ) AS found JOIN listening USING (routing_key)
), reached AS MATERIALIZED (
    SELECT consumer, (
        SELECT p.event_id FROM processed_event p
        WHERE p.consumer = each.consumer AND p.processed_at <= %s AND p.event_id <= %s
          AND p.event_id >= (SELECT id FROM told ORDER BY id LIMIT 1)
        ORDER BY p.event_id DESC LIMIT 1) AS event_id
    FROM (SELECT DISTINCT consumer FROM listening) AS each
)
SELECT DISTINCT told.aggregate_id
FROM told JOIN reached USING (consumer) LEFT JOIN outbox ON outbox.event_id = told.id
WHERE outbox.event_id IS NOT NULL OR reached.event_id IS NULL OR told.id > reached.event_id
"""


def under_way(aggregate_ids: Collection[object], *, to: Collection[str], by: datetime) -> set[str]:
    """Those of the aggregates of which some event had not come to one of these consumers by that moment.

    It is not published yet, or the consumer had not come so far: it had neither handled nor given up this event or any
    later one, because it was down or is behind. What it has left behind is under way no more, whatever became of it.
    Raises KeyError for a consumer that is not declared.
    """
    listening = [(name, key) for name in to for key in CONSUMERS[name].reads]
    names, keys = [name for name, _ in listening], [key for _, key in listening]
    with connection.cursor() as cursor:
        cursor.execute(_UNDER_WAY, [names, keys, list(map(str, aggregate_ids)), by, first_id_at(by)])
        return {aggregate_id for (aggregate_id,) in cursor.fetchall()}
