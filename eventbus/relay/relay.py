"""The relay: takes recorded events from the outbox and publishes them, at least once, in commit order per aggregate."""

import threading
from collections.abc import Collection, Sequence
from time import monotonic
from typing import Any

import psycopg
import structlog
from django.db import DatabaseError, InterfaceError, connection, transaction

from eventbus.backoff import backoff
from eventbus.broker.connection import connect, declaring_url
from eventbus.broker.publisher import SEND_ERRORS
from eventbus.failpoints import failpoint
from eventbus.heartbeats import beating
from eventbus.recording.publish import WAKE_CHANNEL
from eventbus.relay import claims, idle_lock, lost_queues
from eventbus.relay.blocked_keys import BlockedKeys, Claimed, behind_blocked
from eventbus.relay.full_queues import (
    CLAIM_REFUSED,
    DELIVERED,
    FULL,
    PUBLISHED,
    Copy,
    deal,
    lacking,
    lacking_by_aggregate,
    listeners,
    note,
    refused_copies,
    to_queue,
)
from eventbus.relay.older_readers import OlderVersions
from eventbus.relay.publishing import CountingPublisher
from eventbus.retries.sending import SECONDS_TO_NEXT, RetrySender

log = structlog.get_logger(__name__)

BATCH = 500
#: Seconds after which an idle relay asks again even if nobody woke it.
IDLE_WAIT = 1.0
#: Seconds until a relay beside an idle one, which is woken for both, looks whether there is work for two, or the other
#: one is dead or frozen.
STAND_BY_WAIT = 1.0
#: Seconds within which who has recorded an event mostly commits: it is not published before the relay asks again.
COMMIT_WAIT = 0.01
#: Seconds without a confirm after which the connection is given up: a partition must not stop publishing for long.
CONFIRM_TIMEOUT = 10.0
#: Seconds after which PostgreSQL takes back what a relay has claimed and does nothing about: it may be stopped, or have
#: lost the network. Longer than it waits for confirms.
CLAIM_TIMEOUT = 25
#: Seconds after which PostgreSQL ends the session of a relay that asks nothing, and takes back the idle lock: a relay
#: that is well asks every second.
SILENCE_TIMEOUT = 30
#: Seconds that PostgreSQL may take for any answer to a relay.
ANSWER_WITHIN = 15
INTERRUPTIONS: tuple[type[Exception], ...] = (DatabaseError, InterfaceError, psycopg.Error, *SEND_ERRORS)

WHAT_WAITS = f"SELECT EXISTS (SELECT FROM outbox WHERE blocked_key IS NULL), {SECONDS_TO_NEXT}"
#: Seconds after which a relay looks for keys that were blocked when another one died.
BLOCKED_LOOK = 15.0


class Relay:
    """One relay. Run as many as you like: they share the work by row locks."""

    def __init__(self, broker_url: str, *, batch: int = BATCH) -> None:
        self.batch = batch
        self.publisher = CountingPublisher(broker_url, confirm_timeout=CONFIRM_TIMEOUT)
        self.retries = RetrySender(self.publisher)
        self.stopping = threading.Event()
        self.blocked = BlockedKeys()
        self.full = BlockedKeys()
        self.older = OlderVersions()
        self._declared = False
        self._looked_for_blocked = 0.0
        self._came_back_empty = False

    def stop(self) -> None:
        """Finish the batch in hand, then return from run()."""
        self.stopping.set()

    def run(self) -> None:
        """Publish until stopped. Survives the loss of the broker and of the database."""
        failures = 0
        self.older.keep_looking(self.stopping)
        while not self.stopping.is_set():
            beating.turned("relay")
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
        """Publish one batch and the retries that are due; forget what was confirmed. Dying inside repeats, never skips.

        Returns with how many events it came further: published, or put aside because a queue of theirs is full.
        """
        self._declare_topology()
        self._look_for_blocked()
        moved = self._publish_new() + self._send_retries()
        moved += sum(self._catch_up(queue) for queue in self.full.due())
        return moved + sum(self._publish_blocked(key) for key in self.blocked.due())

    def _publish_new(self) -> int:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(claims.CLAIM, [self.batch])
            claimed = [claims.as_claimed(row, self.older.of) for row in cursor.fetchall()]
            if not claimed:
                return 0
            failpoint("relay.after_claim")
            aside = {place for place, each in enumerate(claimed) if each.key in self.blocked}
            waiting = behind_blocked(claimed, aside)
            go, stay = deal(claimed, waiting, set(self.full.by_key), lacking_by_aggregate(cursor, claimed))
            refused = self._send(cursor, claimed, aside, go)
            note(cursor, claimed, stay)
        for key in {claimed[place].key for place in refused}:
            self._note_refusal(key, taken=0)
        return len(claimed)

    def _send_retries(self) -> int:
        sent = self.retries.send_due()
        if sent.refused:
            # It may be missing.
            self._declared = False
        return sent.retries

    def _publish_blocked(self, key: str) -> int:
        """Try a key that was refused; returns how many of its events were published."""
        key_state = self.blocked[key]
        if any(queue in self.full for queue in listeners(key)):
            key_state.retry_at = monotonic() + IDLE_WAIT  # first that queue has to catch up
            return 0
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(claims.LOCK_KEY, [key])
            if cursor.fetchone() != (True,):
                key_state.retry_at = monotonic() + IDLE_WAIT
                return 0
            cursor.execute(claims.CLAIM_BLOCKED, [key, key_state.window])
            claimed = [claims.as_claimed(row, self.older.of) for row in cursor.fetchall()]
            aside = {place for place, each in enumerate(claimed) if each.key in self.blocked and each.key != key}
            refused = self._send(cursor, claimed, aside)
        taken = len(claimed) - len(refused | aside)
        if any(claimed[place].key == key for place in refused):
            self._note_refusal(key, taken)
        elif len(claimed) < key_state.window:
            self.blocked.forget(key)
            log.info("relay.released", routing_key=key)
        else:
            key_state.accepted(self.batch)
        for other in {claimed[place].key for place in refused} - {key}:
            self._note_refusal(other, taken=0)
        return taken

    def _send(
        self, cursor: Any, claimed: Sequence[Claimed], aside: set[int], copies: Sequence[Copy] | None = None
    ) -> set[int]:
        """Publish what waits for no blocked key, and these copies of what does, and settle the rows.

        Returns the places that the exchange refused. Without `copies` the rows were put aside before.
        """
        waiting = behind_blocked(claimed, aside)
        # An event may go in several versions, and is refused where one of them is.
        sending = [place for place, each in enumerate(claimed) if place not in waiting for _ in each.messages]
        window = [message for place, each in enumerate(claimed) if place not in waiting for message in each.messages]
        window += [to_queue(claimed[copy.place].message, copy.queue) for copy in copies or ()]
        confirmed = self.publisher.send(window) if window else set()
        failpoint("relay.after_confirm")
        refused = {place for number, place in enumerate(sending) if number not in confirmed}
        lack = refused_copies(claimed, copies or (), {number - len(sending) for number in confirmed})
        self._note_full({copy.queue for copy in lack})
        for key in {claimed[place].key for place in refused}:
            self._find_full(next(claimed[place] for place in sorted(refused) if claimed[place].key == key))
        waiting = behind_blocked(claimed, aside | refused)
        if waiting:
            cursor.execute(claims.BLOCK, [[claimed[place].position for place in waiting], list(waiting.values())])
            lack += lacking(claimed, sorted(set(sending) & set(waiting)), set(self.full.by_key))
            note(cursor, claimed, lack)
        settled = [each.position for place, each in enumerate(claimed) if place not in waiting]
        if copies is None:
            cursor.execute(PUBLISHED, [settled])
        cursor.execute(claims.SETTLE, [settled])
        return refused

    def _find_full(self, event: Claimed) -> None:
        """Find out which queues refuse it, by a copy to each: a refusal names none. It may be one unknown to us."""
        queues = listeners(event.key)
        taken = self.publisher.send([to_queue(event.message, queue) for queue in queues]) if queues else set()
        self._note_full({queue for number, queue in enumerate(queues) if number not in taken})

    def _note_full(self, queues: Collection[str]) -> None:
        for queue in queues:
            pause = self.full[queue].refused(0)
            # It may be missing.
            self._declared = False
            log.warning("relay.queue_full", queue=queue, retry_in_seconds=round(pause, 2))

    def _catch_up(self, queue: str) -> int:
        """Send a full queue what it lacks; returns how many events it took."""
        state = self.full[queue]
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(claims.LOCK_KEY, [queue])
            if cursor.fetchone() != (True,):
                state.retry_at = monotonic() + IDLE_WAIT
                return 0
            cursor.execute(CLAIM_REFUSED, [queue, state.window])
            claimed = [claims.as_claimed(row) for row in cursor.fetchall()]
            confirmed = self.publisher.send([to_queue(each.message, queue) for each in claimed]) if claimed else set()
            late = behind_blocked(claimed, set(range(len(claimed))) - confirmed)
            taken = [each.position for place, each in enumerate(claimed) if place not in late]
            cursor.execute(DELIVERED, [queue, taken])
        if late and taken:
            state.refused(len(taken))
        elif late:
            self._note_full([queue])
        elif len(claimed) < state.window:
            self.full.forget(queue)
            log.info("relay.queue_caught_up", queue=queue)
        else:
            state.accepted(self.batch)
        return len(taken)

    def _note_refusal(self, key: str, taken: int) -> None:
        pause = self.blocked[key].refused(taken)
        if not taken:
            # If it is not a full queue, then nothing takes the event, not even the exchange for what is unrouted.
            self._declared = False
            log.warning("relay.held_back", routing_key=key, retry_in_seconds=round(pause, 2))

    def _look_for_blocked(self) -> None:
        if monotonic() - self._looked_for_blocked > BLOCKED_LOOK:
            with connection.cursor() as cursor:
                cursor.execute(claims.BLOCKED)
                self.blocked.learn(key for (key,) in cursor.fetchall())
                cursor.execute(FULL)
                self.full.learn(queue for (queue,) in cursor.fetchall())
            self._looked_for_blocked = monotonic()

    def _declare_topology(self) -> None:
        # At every new connection: a broker that lost its data must not swallow events.
        if not self._declared:
            with connect(declaring_url()) as broker:
                lost_queues.declare(broker)
            self._declared = True

    def _wait_for_work(self) -> None:
        """Sleep until an event is recorded, without polling hard.

        The idle lock can be had only while no transaction that recorded an event is still open, and whoever records one
        later finds it taken and notifies; so asking once more after taking it misses nothing.
        """
        self.publisher.heartbeat()
        with connection.cursor() as cursor:
            cursor.execute(idle_lock.TAKE)
            is_taken, another_is_idle = cursor.fetchone() or (False, False)
            if not is_taken:
                self._listen(self._seconds_to_blocked(STAND_BY_WAIT) if another_is_idle else COMMIT_WAIT)
                return
            try:
                cursor.execute(f"LISTEN {WAKE_CHANNEL}")
                cursor.execute(WHAT_WAITS)
                has_events, seconds_to_retry = cursor.fetchone() or (False, None)
                left = min(IDLE_WAIT, self.retries.expect(seconds_to_retry))
                if not has_events:
                    self._listen(self._seconds_to_blocked(left))
                elif self._came_back_empty:
                    self._listen(0.02)  # another relay has locked what is there
                self._came_back_empty = bool(has_events)
            finally:
                cursor.execute(f"UNLISTEN {WAKE_CHANNEL}")
                cursor.execute(idle_lock.GIVE_BACK)

    def _seconds_to_blocked(self, at_most: float) -> float:
        return self.full.seconds_to_next(self.blocked.seconds_to_next(at_most=at_most))

    def _listen(self, seconds: float) -> None:
        deadline = monotonic() + seconds
        while not self.stopping.is_set() and (left := deadline - monotonic()) > 0:
            for _ in connection.connection.notifies(timeout=min(left, 0.5), stop_after=1):
                return

    def _recover(self, error: Exception, failures: int) -> None:
        """Drop both connections and wait, longer each time and never quite as long as another relay."""
        delay = backoff(failures)
        log.warning("relay.interrupted", error=f"{type(error).__name__}: {error}", retry_in_seconds=round(delay, 2))
        self.publisher.close()
        self._declared = False
        self.blocked, self.full, self._looked_for_blocked = BlockedKeys(), BlockedKeys(), 0.0
        connection.close()
        beating.turned("relay")
        self.stopping.wait(delay)
