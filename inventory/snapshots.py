"""Snapshots of the products' stock, made in the background. Without them each answer is the same, but later."""

from datetime import datetime

from django.db import connection

from eventbus.archive import first_id_at, stream_ends
from inventory.events import StockReceived
from inventory.history import CHANGES, EVENTS

#: Events from one snapshot to the next: with fewer the table grows for nothing, with more they take longer to add up
#: than the rest of a request takes. See docs/decisions/0017-event-sourced-stock.md.
EVERY = 250
#: Products per statement.
BATCH = 100

_LATEST = """
LEFT JOIN LATERAL (
    SELECT * FROM inventory_stocksnapshot WHERE product_id = {product_id} AND sequence <= {upto}
    ORDER BY sequence DESC LIMIT 1
) AS latest ON true
"""
_START = """
coalesce(latest.sequence, 0) AS start, latest.as_of AS start_as_of, coalesce(latest.available, 0) AS start_available,
coalesce(latest.reserved, 0) AS start_reserved, coalesce(latest.shipped, 0) AS start_shipped
"""
_DUE = f"""
SELECT stream.aggregate_id AS product_id, stream.sequence AS upto, {_START}
FROM {stream_ends(StockReceived)} AS stream {_LATEST.format(product_id="stream.aggregate_id", upto="stream.sequence")}
WHERE stream.aggregate_id > %(behind)s
  AND stream.sequence / %(every)s > coalesce(latest.sequence, 0) / %(every)s
ORDER BY 1 LIMIT %(batch)s
"""
_LAST_BEFORE = f"""
SELECT ending.product_id, ending.upto, {_START}
FROM (
    SELECT aggregate_id AS product_id, max(sequence) AS upto FROM {EVENTS} AS event WHERE id < %(cutoff)s GROUP BY 1
) AS ending {_LATEST.format(product_id="ending.product_id", upto="ending.upto")}
WHERE coalesce(latest.sequence, 0) < ending.upto
"""
_MAKE = f"""
WITH due AS MATERIALIZED ({{due}}), read AS (
    SELECT due.*, event.sequence, {CHANGES},
           greatest(start_as_of, max(occurred_at) OVER (PARTITION BY product_id ORDER BY event.sequence)) AS as_of
    FROM due JOIN {EVENTS} AS event
        ON aggregate_id = product_id AND event.sequence > start AND event.sequence <= upto
), bounds AS (
    SELECT product_id, min(sequence) AS first FROM read GROUP BY 1
), added AS (
    SELECT product_id, sequence, upto, as_of, start_available + sum(available) OVER place AS available,
           start_reserved + sum(reserved) OVER place AS reserved, start_shipped + sum(shipped) OVER place AS shipped
    FROM read JOIN bounds USING (product_id)
    -- None of a product whose history has a gap: what would it begin with?
    WHERE first = start + 1
    WINDOW place AS (PARTITION BY product_id ORDER BY sequence)
), made AS (
    INSERT INTO inventory_stocksnapshot (product_id, sequence, as_of, available, reserved, shipped)
    SELECT product_id, sequence, as_of, available, reserved, shipped FROM added WHERE {{kept}}
    ON CONFLICT (product_id, sequence) DO NOTHING RETURNING product_id
)
SELECT (SELECT max(product_id) FROM due), (SELECT count(*) FROM made)
"""
_MAKE_DUE = _MAKE.format(due=_DUE, kept="sequence %% %(every)s = 0")
_MAKE_LAST_BEFORE = _MAKE.format(due=_LAST_BEFORE, kept="sequence = upto")


def make_snapshots(every: int = EVERY) -> int:
    """Make what is due, each `every` events of a product; returns how many. Interrupted, it goes on where it was."""
    total, behind = 0, ""
    with connection.cursor() as cursor:
        while behind is not None:
            cursor.execute(_MAKE_DUE, {"every": every, "batch": BATCH, "behind": behind})
            behind, made = cursor.fetchone()
            total += made
    return total


def snapshot_all(before: datetime) -> int:
    """Make sure that each product has a snapshot at its last event before this moment, by the events' ids: what is
    older can then be dropped from the archive, and from that snapshot on every answer stays the same. Returns how many
    were missing."""
    with connection.cursor() as cursor:
        cursor.execute(_MAKE_LAST_BEFORE, {"cutoff": first_id_at(before)})
        _, made = cursor.fetchone()
    return int(made)
