"""What a lost queue held comes back: the queue is declared again within seconds, and whatever its consumer has not
handled is sent to it again from the archive.

An event that was published while the queue was gone went to nobody, or to the others alone, and the broker confirmed
it: only the archive knows. So the replay begins where the consumer's watermark is, not when the queue was missed.
"""

import threading
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError, connection, transaction
from kombu import Connection

from eventbus.broker import topology
from eventbus.broker.connection import BROKER_ERRORS, connect
from eventbus.conf import bus_settings
from eventbus.db.clock import database_time
from eventbus.db.sql import fetch
from eventbus.declaration import CONSUMERS
from eventbus.ids import moment_of
from eventbus.relay import lost_queues
from eventbus.replays.runs import plan_replay, start_again, start_replay
from eventbus.replays.selection import Selection
from eventbus.waits.backoff import backoff

log = structlog.get_logger(__name__)

#: Seconds between two looks.
LOOK_EVERY = 2.0
INTERRUPTIONS: tuple[type[Exception], ...] = (DatabaseError, InterfaceError, *BROKER_ERRORS)

#: Whom a replay of this module is started by.
BY = "lost queue"

IS_NOTED = "SELECT EXISTS (SELECT FROM lost_queue WHERE repaired_at IS NULL AND consumer = ANY(%s))"
TAKE = "UPDATE lost_queue SET repaired_at = now() WHERE repaired_at IS NULL AND consumer = ANY(%s) RETURNING consumer"
SINCE = "SELECT min(coalesce(watermark, since)) FROM subscription WHERE consumer = %s"
# A dead letter on its way back was in the queue as well.
UNSEND = """
UPDATE replay_item i SET sent_at = NULL FROM dead_letter d, replay r
WHERE d.id = i.letter_id AND r.id = i.replay_id AND r.state = 'running'
  AND d.consumer = %s AND i.outcome = 'waiting' AND i.sent_at IS NOT NULL
"""
# What was given up and never became a dead letter was on its way to the table. Letters are kept for this long at least:
# what was given up earlier may have had one.
REVIVE = """
DELETE FROM processed_event p
WHERE p.consumer = %s AND p.outcome = 'dead' AND p.processed_at > %s
  AND NOT EXISTS (SELECT FROM dead_letter d WHERE d.event_id = p.event_id AND d.consumer = p.consumer)
RETURNING p.event_id
"""


class QueueKeeper:
    """Looks every few seconds whether all queues are there. Run as many as you like."""

    def __init__(self, broker_url: str) -> None:
        self.broker_url = broker_url
        self.stopping = threading.Event()

    def stop(self) -> None:
        """Finish the look in hand, then return from run()."""
        self.stopping.set()

    def run(self) -> None:
        """Keep the queues until stopped. Survives the loss of the broker and of the database."""
        failures = 0
        while not self.stopping.is_set():
            try:
                with connect(self.broker_url) as broker:
                    while not self.stopping.is_set():
                        look(broker)
                        broker.heartbeat_check()
                        failures = 0
                        self.stopping.wait(LOOK_EVERY)
            except INTERRUPTIONS as error:
                failures += 1
                delay = backoff(failures)
                log.warning("queues.interrupted", error=f"{type(error).__name__}: {error}", retry_in_seconds=delay)
                connection.close()
                self.stopping.wait(delay)
        connection.close()


def look(broker: Connection) -> None:
    """Declare what is missing, and send again what was in it. Raises DatabaseError or one of BROKER_ERRORS."""
    if not topology.missing(broker) and fetch(IS_NOTED, [list(CONSUMERS)]) == [(False,)]:
        return
    # Also for what somebody else noted: only behind the binding does a replay leave no gap.
    lost_queues.declare(broker)
    with transaction.atomic():
        for name in sorted({consumer for (consumer,) in fetch(TAKE, [list(CONSUMERS)])}):
            send_again(name)


def send_again(name: str, *, by: str = BY) -> None:
    """Start to send a consumer what it has not handled, what replays had sent it, and what it gave up without a dead
    letter."""
    ((since,),) = fetch(SINCE, [name])
    if not isinstance(since, datetime):
        return  # it was forgotten since
    start_again(name)
    fetch(UNSEND, [name])
    since = min([since, *(moment_of(event_id) for event_id in revive(name))])
    replay = start_replay(plan_replay(CONSUMERS[name], Selection(since=since)), by=by)
    log.warning(
        "queue.repaired", consumer=name, since=since.isoformat(), events=replay.total if replay is not None else 0
    )


def revive(name: str) -> list[UUID]:
    """Forget that the consumer gave these events up, where the dead letter was lost on its way: they come again."""
    kept_since = database_time() - timedelta(days=bus_settings.DEAD_LETTER_DAYS)
    return [event_id for (event_id,) in fetch(REVIVE, [name, kept_since])]
