"""Sends the letters of running replays back to their consumers: one, then ten, then the rest, and stops in time."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

import structlog

from eventbus.broker.message import SHORT, fits_property
from eventbus.broker.publisher import Outgoing
from eventbus.db.crypto import UnreadablePayload, decrypt
from eventbus.db.sql import fetch
from eventbus.dead_letters import replays
from eventbus.leases import LeasedDriver, RunRefused

log = structlog.get_logger(__name__)

#: Settled letters after which the next stage begins: the first, then ten more, then the rest.
FIRST, FEW = 1, 11
WINDOW = 500
WINDOW_BYTES = 8_000_000
#: Dead letters under way at most: that many fail again at worst before the threshold is noticed.
IN_FLIGHT = 2_000
KEPT = frozenset({"traceparent"})

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


class DeadLetterReplayDriver(LeasedDriver):
    """Drives replays of dead letters."""

    table = "replay"
    columns = "r.rate, r.threshold, r.settled_before, r.failed_before"

    def settle_doubts(self, run_id: UUID) -> None:
        fetch(UNSEND, [run_id])

    def step(self, run_id: UUID) -> bool:
        pace = self.lease(run_id)
        if pace is None:
            return False
        lease = Lease(run_id, *pace)
        tally = tally_of(run_id)
        if fails_too_often(tally, lease):
            failed, settled = tally.failed - lease.failed_before, tally.replayed + tally.failed - lease.settled_before
            return self._end(run_id, f"{failed} of {settled} failed again.")
        if not tally.unsent and not tally.in_flight:
            return self._end(run_id, None)
        wanted = min(tally.unsent, room(tally, lease.settled_before), self.allowance(run_id, lease.rate, WINDOW))
        if wanted <= 0:
            return False
        single_try = tally.replayed + tally.failed - lease.settled_before < FEW
        self.sent(run_id, self._send(run_id, wanted, single_try=single_try), lease.rate)
        return True

    def _end(self, replay_id: UUID, note: str | None) -> bool:
        try:
            if note is None:
                replays.finish_replay(replay_id)
            else:
                replays.stop_replay(replay_id, note=note)
        except RunRefused:
            return False  # paused or cancelled in this very moment
        log.info("replay.ended", replay_id=str(replay_id), note=note or "done")
        self.let_go(replay_id)
        return False

    def _send(self, replay_id: UUID, wanted: int, *, single_try: bool) -> int:
        rows = fetch(TAKE, [replay_id, wanted])
        letters = [row[1] for row in rows]
        fetch(NOTE_DEAD, [letters])
        done = {letter for (letter,) in fetch(ALREADY_DONE, {"letters": letters, "replay": replay_id})}
        for consumer, group in groupby((row for row in rows if row[1] not in done), key=lambda row: row[2]):
            refused = self._send_to(consumer, replay_id, list(group), single_try=single_try)
            if refused:
                fetch("UPDATE replay_item SET sent_at = NULL WHERE id = ANY(%s)", [refused])
                note = (
                    f"The queue of {consumer} takes no letters: it is full or missing. Tried again every few seconds."
                )
                self.hold_off(replay_id, note)
        return len(rows)

    def _send_to(self, consumer: str, replay_id: UUID, rows: Sequence[Any], *, single_try: bool) -> list[int]:
        """Publish letters to one consumer's queue; returns the items that the broker refused."""
        window, items = [], []
        for item, letter, _, body, properties, headers in rows:
            try:
                window.append(as_message(consumer, replay_id, letter, decrypt(body), properties, headers, single_try))
                items.append(item)
            except UnreadablePayload as error:
                fetch(FAIL, {"replay": replay_id, "letter": letter, "error": str(error)})
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
    properties = {name: value for name, value in json.loads(properties_json).items() if fits_property(name, value)}
    headers = json.loads(headers_json)
    kept = {name: value for name, value in headers.items() if name in KEPT or name.startswith("cloudEvents")}
    own: dict[str, Any] = {"x-attempt": 1, "x-replay-id": str(replay_id), "x-letter-id": letter}
    if single_try:
        own["x-single-try"] = 1
    kept = {name: value for name, value in kept.items() if isinstance(value, str) and len(name.encode()) <= SHORT}
    # By its id the publisher knows a returned message.
    properties = {**properties, "message_id": properties.get("message_id") or f"letter-{letter}"}
    return Outgoing("", consumer, body, {**properties, "application_headers": {**kept, **own}})


def tally_of(replay_id: UUID) -> Tally:
    """Count the replay's letters."""
    return Tally(*fetch(TALLY, [replay_id])[0])
