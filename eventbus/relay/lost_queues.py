"""Queues that somebody deleted, or a broker that lost its data: declared again, and noted, for what they held is gone.

What follows from the note is in `eventbus.subscriptions.lost_queues`.
"""

import structlog
from kombu import Connection

from eventbus.broker import topology
from eventbus.db.sql import fetch
from eventbus.declaration import CONSUMERS

log = structlog.get_logger(__name__)

# A consumer that nobody has subscribed yet is new, and its queue was never there.
NOTE = """
INSERT INTO lost_queue (consumer) SELECT DISTINCT consumer FROM subscription WHERE consumer = ANY(%s) ORDER BY 1
RETURNING consumer
"""


def declare(broker: Connection) -> None:
    """Declare what is missing of all that the consumers need, once it is noted who lost something.

    Call it in no transaction, with a connection whose user may declare. Raises what `topology.declare` raises, and
    DatabaseError.
    """
    missing = topology.missing(broker)
    lost = consumers_that_lost(missing)
    # Before it is declared: whoever dies in between leaves the queue missing, and the next one finds it so.
    if lost and (noted := [consumer for (consumer,) in fetch(NOTE, [lost])]):
        log.error("queue.lost", consumers=noted)
    # No other: one that went in this moment would come back with nobody knowing what it lost.
    topology.declare(broker, missing)


def consumers_that_lost(missing: list[topology.Queue]) -> list[str]:
    """The consumers of which events may have been in these queues."""
    names = {queue.name for queue in missing}
    return [name for name in CONSUMERS if name in names]
