"""Long runs that are rows, such as replays. Whoever holds a run's lease drives it; from the dead the next takes over.

The table of a run has `state`, `lease_holder` ('' while nobody drives it), `lease_until` and `note`.
"""

import os
import socket
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, ClassVar
from uuid import UUID

import structlog
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Model

from eventbus.broker.publisher import SEND_ERRORS, ConfirmingPublisher
from eventbus.db.sql import fetch
from eventbus.errors import EventbusError
from eventbus.heartbeats import beating
from eventbus.ids import new_id
from eventbus.waits.backoff import backoff

log = structlog.get_logger(__name__)

LEASE_SECONDS = 30

#: Seconds for which a run waits after the broker refused its messages.
REFUSED_PAUSE = 5.0
#: Seconds between two reports of how far a run is.
SHOW_EVERY = 0.3

INTERRUPTIONS: tuple[type[Exception], ...] = (DatabaseError, InterfaceError, *SEND_ERRORS)

# The previous holder is returned as well: one who didn't let go died, and what it was about to send may not be sent.
LEASE = f"""
UPDATE {{table}} r SET lease_holder = %(me)s, lease_until = clock_timestamp() + interval '{LEASE_SECONDS} seconds'
FROM (SELECT id, lease_holder FROM {{table}} WHERE id = %(id)s FOR UPDATE) before
WHERE r.id = before.id AND r.state = 'running'
  AND (r.lease_holder IN (%(me)s, '') OR r.lease_until < clock_timestamp())
RETURNING before.lease_holder, {{columns}}
"""

LET_GO = "UPDATE {table} SET lease_holder = '' WHERE id = %s AND lease_holder = %s"

FREE = """
SELECT id FROM {table} WHERE state = 'running' AND (lease_holder IN (%s, '') OR lease_until < clock_timestamp())
"""


class RunRefused(EventbusError):
    """The run is not in a state for that; the message says in which it is."""


def move_run(model: type[Model], run_id: UUID, allowed: Sequence[str], **changes: Any) -> None:
    """Change a run that is in one of the allowed states. Raises RunRefused."""
    runs = model._default_manager.filter(pk=run_id)
    if runs.filter(state__in=allowed).update(**changes):
        return
    state = runs.values_list("state", flat=True).first()
    if state is None:
        raise RunRefused(f"There is no replay {run_id}: look at the list of replays.")
    raise RunRefused(f"Replay {run_id} is {state}; that needs one that is {' or '.join(allowed)}.")


class LeasedDriver:
    """Drives the runs of a table step by step. Not thread-safe. Run as many as you like: a run has one at a time."""

    table: ClassVar[str]
    #: What a lease returns of the run.
    columns: ClassVar[str]
    #: Seconds until the next step, where there was nothing to do.
    poll: ClassVar[float] = 0.2

    def __init__(self, broker_url: str) -> None:
        self.name = f"{socket.gethostname()} {os.getpid()} {new_id()}"
        self.publisher = ConfirmingPublisher(broker_url)
        self.stopping = threading.Event()
        self._next_at: dict[UUID, float] = {}
        self._in_doubt: set[UUID] = set()

    def step(self, run_id: UUID) -> bool:
        """Do what is due: send a window, stop, or finish. Returns whether it sent something."""
        raise NotImplementedError

    def settle_doubts(self, run_id: UUID) -> None:
        """Called where another driver died, or this one lost a connection: what was under way may not have arrived."""

    def stop(self) -> None:
        """Finish the window in hand, then return."""
        self.stopping.set()

    def run_all(self) -> None:
        """Drive whatever run has no driver, until stopped. Survives the loss of broker and database."""
        failures = 0
        while not self.stopping.is_set():
            beating.turned(self.table)
            try:
                self.publisher.heartbeat()
                busy = [self.step(run_id) for run_id in self.free_runs()]
                failures = 0
                if not any(busy):
                    self.stopping.wait(self.poll if busy else 1.0)
            except INTERRUPTIONS as error:
                failures += 1
                self.recover(error, failures)
        self.close()

    def run_one(self, run_id: UUID, show: Callable[[], bool]) -> None:
        """Drive one run until stopped, or until `show`, called a few times a second, says that it runs no more."""
        failures, shown = 0, 0.0
        while not self.stopping.is_set():
            try:
                if not self.step(run_id):
                    self.stopping.wait(self.poll)
                if monotonic() - shown > SHOW_EVERY:
                    shown = monotonic()
                    if not show():
                        break
                failures = 0
            except INTERRUPTIONS as error:
                failures += 1
                self.recover(error, failures)
        self.close()

    def close(self) -> None:
        """Let go of every run, so that another driver need not wait."""
        for run_id in list(self._next_at):
            self.let_go(run_id)
        self.publisher.close()
        connection.close()

    def let_go(self, run_id: UUID) -> None:
        self._next_at.pop(run_id, None)
        try:
            fetch(LET_GO.format(table=self.table), [run_id, self.name])
        except (DatabaseError, InterfaceError) as error:
            log.warning("replay.lease_left", replay_id=str(run_id), error=str(error))

    def recover(self, error: Exception, failures: int) -> None:
        """Drop both connections and wait, longer each time."""
        delay = backoff(failures)
        log.warning("replay.interrupted", error=f"{type(error).__name__}: {error}", retry_in_seconds=round(delay, 2))
        self._in_doubt.update(self._next_at)
        self.publisher.close()
        connection.close()
        self.stopping.wait(delay)

    def lease(self, run_id: UUID) -> Sequence[Any] | None:
        """Take or renew the right to drive the run: its columns; None where it doesn't run or another one has it."""
        rows = fetch(LEASE.format(table=self.table, columns=self.columns), {"me": self.name, "id": run_id})
        if not rows:
            self._next_at.pop(run_id, None)
            return None
        before, *found = rows[0]
        columns: Sequence[Any] = found
        if run_id in self._in_doubt or before not in (self.name, ""):
            log.warning("replay.taken_up_again", replay_id=str(run_id), previous=before)
            self.settle_doubts(run_id)
            self._in_doubt.discard(run_id)
        self._next_at.setdefault(run_id, 0.0)
        return columns

    def allowance(self, run_id: UUID, rate: float | None, window: int) -> int:
        """How many messages may go now: half a second's worth at a time where there is a rate."""
        if self.is_too_early(run_id):
            return 0
        return min(window, max(1, int(rate / 2))) if rate else window

    def is_too_early(self, run_id: UUID) -> bool:
        """Whether the rate, or a refusal, keeps this driver from sending more of the run now."""
        return monotonic() < self._next_at.get(run_id, 0.0)

    def sent(self, run_id: UUID, number: int, rate: float | None) -> None:
        """Note what went out, for the rate's sake."""
        if rate:
            self._next_at[run_id] = max(monotonic(), self._next_at[run_id]) + number / rate

    def hold_off(self, run_id: UUID, note: str) -> None:
        """The broker refuses the run's messages: say so, and try again in a few seconds."""
        fetch(f"UPDATE {self.table} SET note = %s WHERE id = %s AND state = 'running'", [note, run_id])
        self._next_at[run_id] = monotonic() + REFUSED_PAUSE

    def free_runs(self) -> list[UUID]:
        """The runs that nobody else drives."""
        return [run_id for (run_id,) in fetch(FREE.format(table=self.table), [self.name])]
