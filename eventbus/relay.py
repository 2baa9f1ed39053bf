"""The relay: takes recorded events from the outbox and publishes them, at least once, in commit order per aggregate."""

import random
import threading
from time import monotonic

import psycopg
import structlog
from django.db import DatabaseError, InterfaceError, connection, transaction

from eventbus import topology
from eventbus.confirms import SEND_ERRORS, ConfirmingPublisher, Unconfirmed, connect
from eventbus.contracts import WireFields
from eventbus.failpoints import failpoint
from eventbus.publishing import IDLE_RELAY_LOCK, WAKE_CHANNEL
from eventbus.wire import to_message

log = structlog.get_logger(__name__)

BATCH = 500
#: Seconds after which an idle relay looks even if nobody woke it.
IDLE_WAIT = 1.0
MAX_BACKOFF = 15.0
INTERRUPTIONS: tuple[type[Exception], ...] = (DatabaseError, InterfaceError, psycopg.Error, *SEND_ERRORS)

# Several relays take different rows. An aggregate of which another relay holds an earlier row is left for the next
# round, so that its events go out in order; `held` reads only the rows before the last one claimed.
CLAIM = """
WITH claimed AS MATERIALIZED (
    SELECT position, event_id, aggregate_id FROM outbox ORDER BY position LIMIT %s FOR UPDATE SKIP LOCKED
), held AS MATERIALIZED (
    SELECT o.aggregate_id FROM outbox o
    WHERE o.position < (SELECT max(position) FROM claimed) AND o.position NOT IN (SELECT position FROM claimed)
)
SELECT c.position, e.id, e.type, e.version, e.aggregate_type, e.aggregate_id, e.sequence, e.occurred_at,
       e.correlation_id, e.causation_id, e.user_id, e.data::text
FROM claimed c JOIN event e ON e.id = c.event_id
WHERE c.aggregate_id NOT IN (SELECT aggregate_id FROM held)
ORDER BY c.position
"""
SETTLE = "DELETE FROM outbox WHERE position = ANY(%s)"


class Relay:
    """One relay. Run as many as you like: they share the work by row locks."""

    def __init__(self, broker_url: str, *, batch: int = BATCH) -> None:
        self.broker_url = broker_url
        self.batch = batch
        self.publisher = ConfirmingPublisher(broker_url)
        self.stopping = threading.Event()
        self._declared = False
        self._came_back_empty = False

    def stop(self) -> None:
        """Finish the batch in hand, then return from run()."""
        self.stopping.set()

    def run(self) -> None:
        """Publish until stopped. Survives the loss of the broker and of the database."""
        failures = 0
        while not self.stopping.is_set():
            try:
                published = self.publish_batch()
                failures = 0
                if published:
                    self._came_back_empty = False
                else:
                    self._wait_for_work()
            except INTERRUPTIONS as error:
                failures += 1
                self._recover(error, failures)
        self.publisher.close()
        connection.close()

    def publish_batch(self) -> int:
        """Publish one batch and forget what was confirmed; returns how many. Dying inside repeats, never skips."""
        self._declare_topology()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(CLAIM, [self.batch])
            rows = cursor.fetchall()
            if not rows:
                return 0
            failpoint("relay.after_claim")
            window = [to_message(WireFields(*row[1:])) for row in rows]
            confirmed = self.publisher.send(window)
            failpoint("relay.after_confirm")
            settled = settleable([row[5] for row in rows], confirmed)
            cursor.execute(SETTLE, [[rows[place][0] for place in settled]])
        if len(settled) < len(rows):
            raise Unconfirmed(
                f"The broker refused {len(rows) - len(confirmed)} of {len(rows)} events: a queue is full, or no queue "
                "takes what orders.unrouted should. They stay in the outbox."
            )
        return len(settled)

    def _declare_topology(self) -> None:
        # At every new connection: a broker that lost its data must not swallow events.
        if not self._declared:
            with connect(self.broker_url) as broker:
                topology.declare(broker)
            self._declared = True

    def _wait_for_work(self) -> None:
        """Sleep until an event is recorded, without polling hard.

        The idle lock can be had only while no transaction that recorded an event is still open, and whoever records one
        later finds it taken and notifies; so one last look after taking it misses nothing.
        """
        self.publisher.heartbeat()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [IDLE_RELAY_LOCK])
            row = cursor.fetchone()
            if not (row and row[0]):
                self._listen(0.01)
                return
            try:
                cursor.execute(f"LISTEN {WAKE_CHANNEL}")
                cursor.execute("SELECT EXISTS (SELECT FROM outbox)")
                row = cursor.fetchone()
                if not (row and row[0]):
                    self._listen(IDLE_WAIT)
                elif self._came_back_empty:
                    self._listen(0.02)  # another relay holds what is there
                self._came_back_empty = bool(row and row[0])
            finally:
                cursor.execute(f"UNLISTEN {WAKE_CHANNEL}")
                cursor.execute("SELECT pg_advisory_unlock(%s)", [IDLE_RELAY_LOCK])

    def _listen(self, seconds: float) -> None:
        deadline = monotonic() + seconds
        while not self.stopping.is_set() and (left := deadline - monotonic()) > 0:
            for _ in connection.connection.notifies(timeout=min(left, 0.5), stop_after=1):
                return

    def _recover(self, error: Exception, failures: int) -> None:
        """Drop both connections and wait, longer each time and never quite as long as another relay."""
        delay = min(MAX_BACKOFF, 0.25 * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)
        log.warning("relay.interrupted", error=f"{type(error).__name__}: {error}", retry_in_seconds=round(delay, 2))
        self.publisher.close()
        self._declared = False
        connection.close()
        self.stopping.wait(delay)


def settleable(aggregates: list[str], confirmed: set[int]) -> list[int]:
    """The places that may leave the outbox: confirmed, and nothing earlier of the same aggregate was refused.

    What was confirmed behind a refused one is sent again after it: a duplicate is harmless, a gap in the order is not.
    """
    stuck: set[str] = set()
    settled = []
    for place, aggregate in enumerate(aggregates):
        if place in confirmed and aggregate not in stuck:
            settled.append(place)
        else:
            stuck.add(aggregate)
    return settled
