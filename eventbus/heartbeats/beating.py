"""A process gives signs of life for as long as its work goes round.

Each loop of the process calls `turned()` once a round: that takes no time and can't fail. A thread beside the loops
writes the sign down, every few seconds and only if every loop has turned since the last time. So a loop that is stuck
or frozen gives no sign, and none waits for the database for the sake of its sign.
"""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import structlog
from django.db import DatabaseError, InterfaceError, connection

from eventbus.conf import bus_settings
from eventbus.db.sessions import hurry_sessions, within
from eventbus.db.sql import fetch
from eventbus.metrics import totals

log = structlog.get_logger(__name__)

#: Seconds between two signs.
PERIOD = 5.0
#: Seconds until the first is tried: whoever waits for the process waits for that.
FIRST_TRY = 0.2
#: Seconds after which a process whose work does not go round ends itself: whoever keeps it starts it again.
STUCK_AFTER = 180.0
#: Seconds that the database may take for one.
PATIENCE = 5

BEAT = """
INSERT INTO heartbeat (kind, host, pid, code_version, started_at, beat_at)
VALUES (%s, %s, %s, %s, clock_timestamp() - %s * interval '1 second', clock_timestamp())
ON CONFLICT (kind, host, pid) DO UPDATE
SET code_version = excluded.code_version, started_at = excluded.started_at, beat_at = excluded.beat_at
"""
# The last one of its kind stays: a kind that was there once is missed when it is gone.
FORGET = """
DELETE FROM heartbeat h WHERE beat_at < clock_timestamp() - interval '1 day'
AND EXISTS (SELECT FROM heartbeat later WHERE later.kind = h.kind AND later.beat_at > h.beat_at)
"""


class Beating:
    """The heartbeat of a process. `loops` are those that must turn; `works`, where given, is asked before each sign."""

    def __init__(self, kind: str, loops: frozenset[str], works: Callable[[], bool] | None = None) -> None:
        self.kind, self.loops, self.works = kind, loops, works
        self._turned: set[str] = set()
        self._began = monotonic()
        self._has_begun = False
        # Held while this is in the database's library: nobody forks in the midst of that.
        self.writing = threading.Lock()

    def start(self) -> None:
        os.register_at_fork(
            before=self.writing.acquire, after_in_parent=self.writing.release, after_in_child=self.writing.release
        )
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def turned(self, loop: str) -> None:
        self._turned.add(loop)

    def _run(self) -> None:
        hurry_sessions(f"heartbeat of {self.kind}", seconds=PATIENCE)
        pause, missed = threading.Event(), 0
        while not pause.wait(PERIOD if self._has_begun else FIRST_TRY):
            try:
                # Counted and not timed: who was frozen with all its threads is not stuck when it goes on.
                missed = 0 if self.sign() or not self._has_begun else missed + 1
                if missed >= STUCK_AFTER / PERIOD:
                    log.critical("process.stuck", kind=self.kind, waits_for=sorted(self.loops - self._turned))
                    end()
                    return
            except (DatabaseError, InterfaceError, TimeoutError) as error:
                connection.close()
                log.warning("heartbeat.not_written", error=f"{type(error).__name__}: {error}")

    def sign(self) -> bool:
        """Give a sign of life if every loop has turned since the last one; returns whether that was so.

        Raises DatabaseError, InterfaceError or TimeoutError: then there is a file and no row.
        """
        if not self.loops <= self._turned or not (self.works is None or self.works()):
            return False
        self._turned = set()
        self._note()
        with self.writing, within(PATIENCE):
            self._write()
        self._has_begun = True
        return True

    def _note(self) -> None:
        folder: Path | None = bus_settings.HEARTBEAT_DIR
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Whom to kill when no more signs come.
            (folder / self.kind).write_text(f"{os.getpid()}\n")
        except OSError as error:
            log.warning("heartbeat.no_file", error=str(error))

    def _write(self) -> None:
        age = monotonic() - self._began
        fetch(BEAT, [self.kind, socket.gethostname(), os.getpid(), bus_settings.CODE_VERSION, age])
        totals.flush()
        if not self._has_begun:
            fetch(FORGET)


def end() -> None:
    """End this process at once: what is stuck heeds no kinder way. All that it had in hand comes again."""
    os._exit(1)


_ours: Beating | None = None


def begin(kind: str, *loops: str, works: Callable[[], bool] | None = None) -> None:
    """Give signs of life from now on, as a process of this kind, while all of these loops turn."""
    global _ours
    _ours = Beating(kind, frozenset(loops), works)
    _ours.start()


def turned(loop: str) -> None:
    """A loop of this process goes into its next round. Does nothing where the process gives no signs of life."""
    if _ours is not None:
        _ours.turned(loop)
