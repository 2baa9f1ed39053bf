"""A pool process that is frozen is replaced: what it was handed, and does not take up, waits for ever otherwise.

One that is frozen in the midst of a run meets the run's time limit. Celery's limits begin when a run is taken up.
"""

import os
import signal
from typing import Any

import structlog

log = structlog.get_logger(__name__)

#: Seconds until a run that was handed to a pool process must be taken up. One gets a run only while it has none.
TAKEN_UP_WITHIN = 10


class FrozenChildren:
    """Looks after the processes of a pool. Knows Celery's pool from the inside."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        # Looks, by job and process: counted and not timed. Who was frozen together with us is not late when we go on.
        self._seen_waiting: dict[tuple[int, int], int] = {}

    def look(self) -> None:
        """Kill every process that is overdue; its run goes to another, and the pool starts a new one. Call it once a
        second."""
        waiting = {}
        pool = self.pool._pool
        for number, job in list(pool._cache.items()):
            process = job._write_to
            # One that went back to the pool still names the process that is gone, or whoever took its place.
            if job._accepted or process is None or not process._is_alive() or job in pool.outbound_buffer:
                continue
            handed = number, process.pid
            waiting[handed] = self._seen_waiting.get(handed, 0) + 1
            if waiting[handed] == TAKEN_UP_WITHIN:
                log.error("worker.frozen_process", pid=process.pid, task_id=job.correlation_id, seconds=TAKEN_UP_WITHIN)
                os.kill(process.pid, signal.SIGKILL)
        self._seen_waiting = waiting
