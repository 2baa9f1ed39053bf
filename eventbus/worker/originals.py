"""An event may come twice: as it was recorded, and as a copy for those who know an older version only.

The copy says less. Whoever reads the newer version and gets the copy, because its queue is still bound to the older
one, takes the event from the archive instead. So it has the same effect whichever of the two comes first, and once.
"""

from collections.abc import Sequence

from eventbus.contracts.casting import is_older
from eventbus.contracts.codec import from_row
from eventbus.contracts.event import Event
from eventbus.contracts.rows import WIRE_COLUMNS, WireFields
from eventbus.contracts.versions import major
from eventbus.db.sql import fetch
from eventbus.declaration import Consumer

# Of the same aggregate: an id alone anybody could have taken.
RECORDED = f"""
SELECT {WIRE_COLUMNS} FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[]) AS t(id, type, aggregate, major)
JOIN event e ON e.id = t.id AND e.type = t.type AND e.aggregate_id = t.aggregate
WHERE split_part(e.version, '.', 1)::int > t.major::int
"""


def originals_of(consumer: Consumer, events: Sequence[Event]) -> list[Event]:
    """The events, and in the place of each copy that this consumer need not make do with, the archive's own.

    Asks the database only where a version is older than the consumer's. Raises DatabaseError, and InvalidEvent where no
    contract reads what is archived.
    """
    older = [event for event in events if is_older(event, consumer.contract_for(event))]
    if not older:
        return list(events)
    asked = [(each.envelope.event_id, each.type, each.aggregate_id, major(each.version)) for each in older]
    rows = fetch(RECORDED, [list(column) for column in zip(*asked, strict=True)])
    recorded = {row[0]: from_row(WireFields(*row)) for row in rows}
    return [recorded.get(event.envelope.event_id, event) for event in events]
