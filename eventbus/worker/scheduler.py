"""Celery beat's schedule, kept nowhere: it is in the code, and what runs by it may run once too often."""

from datetime import UTC, datetime
from typing import Any

import structlog
from celery.beat import Scheduler

from eventbus.broker.connection import RECONNECT_EVERY, bound
from eventbus.db.pooler import refuse_pooler
from eventbus.heartbeats import beating
from eventbus.worker import goodbye

log = structlog.get_logger(__name__)


class StaticScheduler(Scheduler):  # type: ignore[misc]  # Celery has no types
    """Keeps no file, so that there is none to be damaged, to be lost with a container, or to be shared by two beats.

    Everything is due when beat starts: what runs once a day must not wait for a day because beat was restarted. Upkeep
    may therefore run more often than its schedule says, and two beats at once do no harm.
    """

    def setup_schedule(self) -> None:
        super().setup_schedule()
        for entry in self.schedule.values():
            entry.last_run_at = datetime.fromtimestamp(0, UTC)
        refuse_pooler()
        beating.begin("beat", "beat")

    def tick(self, *args: Any, **kwargs: Any) -> float:
        beating.turned("beat")
        seconds: float = super().tick(*args, **kwargs)
        return seconds

    def _ensure_connected(self) -> Any:
        """As Celery does it, but it is alive while it waits for the broker."""

        def note(error: Exception, seconds: float) -> None:
            log.error("beat.no_broker", error=str(error), retry_in_seconds=seconds)

        made = self.connection.ensure_connection(
            note, None, interval_max=RECONNECT_EVERY, callback=lambda: beating.turned("beat")
        )
        return bound(made)

    def close(self) -> None:
        with goodbye.of(self.connection):
            super().close()
