"""Sends the letters of running replays back to their consumers: one, then ten, then the rest, and stops in time."""

import json
import os
import random
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from time import monotonic
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError, connection

from eventbus.confirms import SEND_ERRORS, ConfirmingPublisher, Outgoing
from eventbus.context import new_id
from eventbus.dead_letters import replays
from eventbus.dead_letters.crypto import Unreadable, decrypt

log = structlog.get_logger(__name__)

#: Settled letters after which the next stage begins: the first, then ten more, then the rest.
FIRST, FEW = 1, 11
WINDOW = 500
WINDOW_BYTES = 8_000_000
#: Letters whose outcome is awaited at most: so many fail again at worst before the threshold is noticed.
IN_FLIGHT = 2_000
LEASE_SECONDS = 30
POLL = 0.2
REFUSED_PAUSE = 5.0
#: Bytes in AMQP's short strings.
SHORT = 255
KEPT = frozenset({"traceparent"})
MAX_BACKOFF = 15.0
INTERRUPTIONS: tuple[type[Exception], ...] = (DatabaseError, InterfaceError, *SEND_ERRORS)

# The previous holder is returned as well: one who didn't let go died, and what it was about to send may not be sent.
LEASE = f"""
UPDATE replay r SET lease_holder = %(me)s, lease_until = clock_timestamp() + interval '{LEASE_SECONDS} seconds'
FROM (SELECT id, lease_holder FROM replay WHERE id = %(id)s FOR UPDATE) before
WHERE r.id = before.id AND r.state = 'running'
  AND (r.lease_holder IN (%(me)s, '') OR r.lease_until < clock_timestamp())
RETURNING before.lease_holder, r.rate, r.threshold, r.settled_before, r.failed_before
"""
LET_GO = "UPDATE replay SET lease_holder = '' WHERE id = %s AND lease_holder = %s"
# Sending twice is harmless (the inbox), not sending is not.
UNSEND = "UPDATE replay_item SET sent_at = NULL WHERE replay_id = %s AND outcome = 'waiting' AND sent_at IS NOT NULL"
TALLY = """
SELECT count(*) FILTER (WHERE outcome = 'waiting' AND sent_at IS NULL),
       count(*) FILTER (WHERE outcome = 'waiting' AND sent_at IS NOT NULL),
       count(*) FILTER (WHERE outcome = 'replayed'), count(*) FILTER (WHERE outcome = 'failed')
FROM replay_item WHERE replay_id = %s
"""
# Claimed before they are sent: what a cancel finds unsent stays unsent.
TAKE = f"""
WITH due AS MATERIALIZED (
    SELECT i.id, i.letter_id, i.place, i.edit_id FROM replay_item i
    WHERE i.replay_id = %s AND i.outcome = 'waiting' AND i.sent_at IS NULL ORDER BY i.place LIMIT %s
), sized AS (
    SELECT due.*, sum(octet_length(coalesce(e.body, d.body))) OVER (ORDER BY due.place) AS bytes_to_here
    FROM due JOIN dead_letter d ON d.id = due.letter_id LEFT JOIN dead_letter_edit e ON e.id = due.edit_id
), marked AS (
    UPDATE replay_item i SET sent_at = now() FROM sized s
    WHERE i.id = s.id AND i.outcome = 'waiting' AND i.sent_at IS NULL
      AND (s.bytes_to_here < {WINDOW_BYTES} OR s.place = (SELECT min(place) FROM due))
    RETURNING i.id, i.letter_id, i.edit_id, i.place
)
SELECT m.id, m.letter_id, d.consumer, coalesce(e.body, d.body), d.properties, d.headers
FROM marked m JOIN dead_letter d ON d.id = m.letter_id LEFT JOIN dead_letter_edit e ON e.id = m.edit_id
ORDER BY d.consumer, m.place
"""
# A letter that no consumer could read has no inbox row yet: with one, its success is noticed like any other's.
NOTE_DEAD = """
INSERT INTO processed_event (event_id, consumer, attempts, outcome)
SELECT DISTINCT d.event_id, d.consumer, 1, 'dead' FROM dead_letter d
WHERE d.id = ANY(%s) AND d.event_id IS NOT NULL ORDER BY 1, 2
ON CONFLICT (event_id, consumer) DO NOTHING
"""
ALREADY_DONE = """
WITH healed AS (
    UPDATE dead_letter d SET state = 'replayed', settled_at = now(), settled_by = 'another delivery'
    FROM processed_event p
    WHERE d.id = ANY(%(letters)s) AND d.state = 'replaying' AND d.replay_id = %(replay)s
      AND p.event_id = d.event_id AND p.consumer = d.consumer AND p.outcome = 'done'
    RETURNING d.id
)
UPDATE replay_item i SET outcome = 'replayed', settled_at = now() FROM healed h
WHERE i.replay_id = %(replay)s AND i.letter_id = h.id AND i.outcome = 'waiting'
RETURNING i.letter_id
"""
FAIL = """
WITH opened AS (
    UPDATE dead_letter SET state = 'open' WHERE id = %(letter)s AND state = 'replaying' AND replay_id = %(replay)s
)
UPDATE replay_item SET outcome = 'failed', settled_at = now(), error = %(error)s
WHERE replay_id = %(replay)s AND letter_id = %(letter)s AND outcome = 'waiting'
"""


@dataclass(frozen=True)
class Tally:
    """Where a replay stands."""

    unsent: int
    in_flight: int
    replayed: int
    failed: int


@dataclass(frozen=True)
class Lease:
    """The right to drive a replay for a while, and what the replay says of its pace."""

    replay_id: UUID
    rate: float | None
    threshold: float
    settled_before: int
    failed_before: int


def room(tally: Tally, settled_before: int) -> int:
    """How many letters may be sent now: one, ten more once it has its outcome, the rest once those have theirs."""
    settled = tally.replayed + tally.failed - settled_before
    begun = settled + tally.in_flight
    if settled >= FEW:
        return IN_FLIGHT - tally.in_flight
    return (FEW if settled >= FIRST else FIRST) - begun


def fails_too_often(tally: Tally, lease: Lease) -> bool:
    """Whether a larger part failed than the threshold allows, since the start or the last resume."""
    settled = tally.replayed + tally.failed - lease.settled_before
    return settled > 0 and (tally.failed - lease.failed_before) / settled > lease.threshold


class Driver:
    """Drives replays step by step. Not thread-safe. Run as many as you like: a replay has one driver at a time."""

    def __init__(self, broker_url: str) -> None:
        self.name = f"{socket.gethostname()} {os.getpid()} {new_id()}"
        self.publisher = ConfirmingPublisher(broker_url)
        self.stopping = threading.Event()
        self._next_at: dict[UUID, float] = {}
        self._in_doubt: set[UUID] = set()

    def stop(self) -> None:
        """Finish the window in hand, then return."""
        self.stopping.set()

    def run_all(self) -> None:
        """Drive whatever replay runs and has no driver, until stopped. Survives the loss of broker and database."""
        failures = 0
        while not self.stopping.is_set():
            try:
                self.publisher.heartbeat()
                busy = [self.step(replay_id) for replay_id in self._running()]
                failures = 0
                if not any(busy):
                    self.stopping.wait(POLL if busy else 1.0)
            except INTERRUPTIONS as error:
                failures += 1
                self.recover(error, failures)
        self.close()

    def close(self) -> None:
        """Let go of every replay, so that another driver need not wait."""
        for replay_id in list(self._next_at):
            self.let_go(replay_id)
        self.publisher.close()
        connection.close()

    def let_go(self, replay_id: UUID) -> None:
        self._next_at.pop(replay_id, None)
        try:
            _execute(LET_GO, [replay_id, self.name])
        except (DatabaseError, InterfaceError) as error:
            log.warning("replay.lease_left", replay_id=str(replay_id), error=str(error))

    def step(self, replay_id: UUID) -> bool:
        """Do what is due: send a window, stop, or finish. Returns whether it sent something."""
        lease = self._lease(replay_id)
        if lease is None:
            self._next_at.pop(replay_id, None)
            return False
        tally = tally_of(replay_id)
        if fails_too_often(tally, lease):
            failed, settled = tally.failed - lease.failed_before, tally.replayed + tally.failed - lease.settled_before
            return self._end(replay_id, f"{failed} of {settled} failed again.")
        if not tally.unsent and not tally.in_flight:
            return self._end(replay_id, None)
        wanted = min(tally.unsent, room(tally, lease.settled_before), WINDOW, self._allowance(lease))
        if wanted <= 0:
            return False
        single_try = tally.replayed + tally.failed - lease.settled_before < FEW
        sent = self._send(replay_id, wanted, single_try=single_try)
        pause = sent / lease.rate if lease.rate else 0
        self._next_at[replay_id] = max(monotonic(), self._next_at[replay_id]) + pause
        return True

    def recover(self, error: Exception, failures: int) -> None:
        """Drop both connections and wait, longer each time."""
        delay = min(MAX_BACKOFF, 0.25 * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)
        log.warning("replay.interrupted", error=f"{type(error).__name__}: {error}", retry_in_seconds=round(delay, 2))
        self._in_doubt.update(self._next_at)
        self.publisher.close()
        connection.close()
        self.stopping.wait(delay)

    def _running(self) -> list[UUID]:
        rows = _execute(
            "SELECT id FROM replay WHERE state = 'running' AND (lease_holder IN (%s, '') OR lease_until < now())",
            [self.name],
        )
        return [replay_id for (replay_id,) in rows]

    def _lease(self, replay_id: UUID) -> Lease | None:
        rows = _execute(LEASE, {"me": self.name, "id": replay_id})
        if not rows:
            return None
        before, *pace = rows[0]
        if replay_id in self._in_doubt or before not in (self.name, ""):
            log.warning("replay.taken_up_again", replay_id=str(replay_id), previous=before)
            _execute(UNSEND, [replay_id])
            self._in_doubt.discard(replay_id)
        self._next_at.setdefault(replay_id, 0.0)
        return Lease(replay_id, *pace)

    def _end(self, replay_id: UUID, note: str | None) -> bool:
        try:
            if note is None:
                replays.finish_replay(replay_id)
            else:
                replays.stop_replay(replay_id, note=note)
        except replays.Refused:
            return False  # paused or cancelled in this very moment
        log.info("replay.ended", replay_id=str(replay_id), note=note or "done")
        self.let_go(replay_id)
        return False

    def _allowance(self, lease: Lease) -> int:
        """How many letters may go now: half a second's worth at a time where there is a rate."""
        if monotonic() < self._next_at[lease.replay_id]:
            return 0
        return max(1, int(lease.rate / 2)) if lease.rate else WINDOW

    def _send(self, replay_id: UUID, wanted: int, *, single_try: bool) -> int:
        rows = _execute(TAKE, [replay_id, wanted])
        letters = [row[1] for row in rows]
        _execute(NOTE_DEAD, [letters])
        done = {letter for (letter,) in _execute(ALREADY_DONE, {"letters": letters, "replay": replay_id})}
        for consumer, group in groupby((row for row in rows if row[1] not in done), key=lambda row: row[2]):
            refused = self._send_to(consumer, replay_id, list(group), single_try=single_try)
            if refused:
                _execute("UPDATE replay_item SET sent_at = NULL WHERE id = ANY(%s)", [refused])
                note = (
                    f"The queue of {consumer} takes no letters: it is full or missing. Tried again every few seconds."
                )
                _execute("UPDATE replay SET note = %s WHERE id = %s AND state = 'running'", [note, replay_id])
                self._next_at[replay_id] = monotonic() + REFUSED_PAUSE
        return len(rows)

    def _send_to(self, consumer: str, replay_id: UUID, rows: Sequence[Any], *, single_try: bool) -> list[int]:
        """Publish letters to one consumer's queue; returns the items that the broker refused."""
        window, items = [], []
        for item, letter, _, body, properties, headers in rows:
            try:
                window.append(as_message(consumer, replay_id, letter, decrypt(body), properties, headers, single_try))
                items.append(item)
            except Unreadable as error:
                _execute(FAIL, {"replay": replay_id, "letter": letter, "error": str(error)})
        arrived = self.publisher.send(window) if window else set()
        return [item for place, item in enumerate(items) if place not in arrived]


def as_message(
    consumer: str,
    replay_id: UUID,
    letter: int,
    body: bytes,
    properties_json: str,
    headers_json: str,
    single_try: bool,
) -> Outgoing:
    """A letter on its way back to its consumer alone, as if it had never been tried."""
    properties = {name: value for name, value in json.loads(properties_json).items() if _goes_on_the_wire(name, value)}
    headers = json.loads(headers_json)
    kept = {name: value for name, value in headers.items() if name in KEPT or name.startswith("cloudEvents")}
    own: dict[str, Any] = {"x-attempt": 1, "x-replay-id": str(replay_id), "x-letter-id": letter}
    if single_try:
        own["x-single-try"] = 1
    kept = {name: value for name, value in kept.items() if isinstance(value, str) and len(name.encode()) <= SHORT}
    # The publisher tells returned messages by their id.
    properties = {**properties, "message_id": properties.get("message_id") or f"letter-{letter}"}
    return Outgoing("", consumer, body, {**properties, "application_headers": {**kept, **own}})


def _goes_on_the_wire(name: str, value: Any) -> bool:
    """What was cleaned for the database may not fit into AMQP any more, and must not end the driver."""
    if name == "timestamp":
        return isinstance(value, int) and value >= 0
    return isinstance(value, str) and len(value.encode()) <= SHORT


def tally_of(replay_id: UUID) -> Tally:
    """Count the replay's letters."""
    return Tally(*_execute(TALLY, [replay_id])[0])


def _execute(statement: str, params: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall() if cursor.description else []
