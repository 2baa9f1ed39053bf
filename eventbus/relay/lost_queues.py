"""Queues that somebody deleted, or a broker that lost its data: declared again, and noted, for what they held is gone.

What follows from the note is in `eventbus.subscriptions.lost_queues`.
"""

import structlog
from kombu import Connection

from eventbus.broker import topology
from eventbus.broker.connection import connect, declaring_url
from eventbus.db.sql import fetch
from eventbus.declaration import CONSUMERS

log = structlog.get_logger(__name__)

# A consumer that nobody has subscribed yet is new, and its queue was never there.
NOTE = """
INSERT INTO lost_queue (consumer) SELECT DISTINCT consumer FROM subscription WHERE consumer = ANY(%s) ORDER BY 1
RETURNING consumer
"""


def declare(broker: Connection) -> None:
    """Declare everything that the consumers need, once it is noted who lost something. Call it in no transaction.

    Raises what `topology.declare` raises, and DatabaseError.
    """
    lost = consumers_that_lost(topology.missing(broker))
    # Before it is declared: whoever dies in between leaves the queue missing, and the next one finds it so.
    if lost and (noted := [consumer for (consumer,) in fetch(NOTE, [lost])]):
        log.error("queue.lost", consumers=noted)
    # The application's user may not.
    with connect(declaring_url()) as declaring:
        topology.declare(declaring)


def consumers_that_lost(missing: list[topology.Queue]) -> list[str]:
    """The consumers of which events may have been in these queues. A delay queue holds retries of any of them."""
    names = {queue.name for queue in missing}
    if any(topology.is_delay(queue) for queue in missing):
        return list(CONSUMERS)
    return [name for name in CONSUMERS if name in names]
