"""Sends the events of running replays to their consumers' queues, window by window, and steps back for live traffic."""

import json
from time import monotonic
from uuid import UUID

import structlog

from eventbus.broker.message import to_message
from eventbus.broker.publisher import Outgoing
from eventbus.contracts.rows import WireFields
from eventbus.db.sql import fetch
from eventbus.declaration import CONSUMERS
from eventbus.failpoints import failpoint
from eventbus.leases import LeasedDriver, RunRefused
from eventbus.replays import runs, windows
from eventbus.replays.models import ArchiveReplay

log = structlog.get_logger(__name__)

#: Events that may wait in the consumer's queue while a replay adds to it: a live event waits behind no more than these.
IN_QUEUE = 400
#: A window is at least this large, and at most IN_QUEUE: a few events at a time would cost as many statements each.
SMALLEST = 200
#: Seconds for which a step waits for the worker before it lets others have a turn, and after which it asks again.
PATIENCE, ASK_EVERY = 0.5, 0.02

# Only forwards: a driver that lost its lease and comes back late must not undo what the next one did.
ADVANCE = """
UPDATE event_replay SET position = greatest(position, %s), sent = sent + %s, note = ''
WHERE id = %s AND lease_holder = %s
"""
WAIT = "UPDATE event_replay SET note = %s WHERE id = %s AND state = 'running' AND note <> %s"
BUSY = "Waits until the consumer's queue is shorter. Is its worker running, and does it keep up with what happens now?"


class ArchiveReplayDriver(LeasedDriver):
    """Drives replays from the archive.

    Its place is noted after the window has been confirmed: dying in between sends that window twice, which the inbox
    makes harmless, and never leaves one out.
    """

    table = "event_replay"
    columns = "r.consumer, r.routing_keys, r.selection, r.position, r.upto, r.rate"
    poll = 0.1

    def free_runs(self) -> list[UUID]:
        # While a release goes out, an old process must leave alone what it can't know yet.
        known = ArchiveReplay.objects.filter(consumer__in=CONSUMERS).values_list("pk", flat=True)
        return list(known.filter(pk__in=super().free_runs()))

    def step(self, run_id: UUID) -> bool:
        if self.is_too_early(run_id):
            return False
        columns = self.lease(run_id)
        if columns is None:
            return False
        consumer, keys, filters, position, upto, rate = columns
        wanted = self.allowance(run_id, rate, IN_QUEUE)
        wanted = min(wanted, self._room(run_id, consumer, min(wanted, SMALLEST)))
        if wanted <= 0:
            return False
        window = windows.window(consumer, keys, position, upto, json.loads(filters), wanted)
        if window.position is None:
            self._finish(run_id)
            return False
        self._send(run_id, consumer, window)
        self.sent(run_id, len(window.events), rate)
        return True

    def _room(self, run_id: UUID, consumer: str, least: int) -> int:
        """How many events the queue has room for, once there is room for `least`; 0 while there isn't."""
        deadline = monotonic() + PATIENCE
        while True:
            waiting = self.publisher.waiting_in(consumer)
            if waiting is None:
                self.hold_off(run_id, f"There is no queue {consumer}: run `declare_topology`. Tried again soon.")
                return 0
            if IN_QUEUE - waiting >= least:
                return IN_QUEUE - waiting
            if monotonic() > deadline or self.stopping.wait(ASK_EVERY):
                fetch(WAIT, [BUSY, run_id, BUSY])
                return 0

    def _send(self, run_id: UUID, consumer: str, window: windows.Window) -> None:
        messages = [as_message(fields, consumer, run_id) for fields in window.events]
        arrived = self.publisher.send(messages) if messages else set()
        failpoint("event_replay.after_send")
        # Up to the first that was refused; what arrived behind it is sent again.
        number = next((place for place in range(len(messages)) if place not in arrived), len(messages))
        position = window.position if number == len(messages) else None
        if number:
            position = position or window.events[number - 1].event_id
        if position:
            fetch(ADVANCE, [position, number, run_id, self.name])
        if number < len(messages):
            self.hold_off(run_id, f"The queue {consumer} takes no more: it is full. Tried again every few seconds.")

    def _finish(self, run_id: UUID) -> None:
        try:
            runs.finish_replay(run_id)
        except RunRefused:
            return  # paused or cancelled in this very moment
        log.info("event_replay.done", replay_id=str(run_id))
        self.let_go(run_id)


def as_message(fields: WireFields, consumer: str, replay_id: UUID) -> Outgoing:
    """An archived event on its way to this one consumer, as if it had never been sent."""
    message = to_message(fields)
    headers = {**message.properties["application_headers"], "x-attempt": 1, "x-replay-id": str(replay_id)}
    return Outgoing("", consumer, message.body, {**message.properties, "application_headers": headers})
