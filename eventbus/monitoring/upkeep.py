"""The bus's own periodic tasks."""

import structlog
from celery import shared_task

from eventbus.archive import retention as archive_retention
from eventbus.archive.partitions import ensure_partitions
from eventbus.dead_letters import retention
from eventbus.monitoring import alarms, notifier
from eventbus.subscriptions import activity

log = structlog.get_logger(__name__)


# Each has a time, so that none keeps the others waiting for long: the first limit raises in it and rolls back what it
# had begun, the second ends its process. What was not finished goes on the next time.


@shared_task(name="eventbus.prune_dead_letters", soft_time_limit=300, time_limit=330)
def prune_dead_letters() -> None:
    """Warn of open dead letters that are near their end, and drop what has reached it."""
    retention.prune()


@shared_task(name="eventbus.make_partitions", soft_time_limit=120, time_limit=150)
def make_partitions() -> None:
    """Create the partitions of the coming months."""
    for name in ensure_partitions():
        log.info("partition.created", partition=name)


@shared_task(name="eventbus.prune_archive", soft_time_limit=1200, time_limit=1260)
def prune_archive() -> None:
    """Drop the months that are older than ARCHIVE_DAYS; what has to stay is logged."""
    for _ in archive_retention.prune():
        pass


@shared_task(name="eventbus.note_activity", soft_time_limit=120, time_limit=150)
def note_activity() -> None:
    """Note when each consumer last heard something."""
    activity.note_activity()


@shared_task(name="eventbus.check_alarms", soft_time_limit=60, time_limit=90)
def check_alarms() -> None:
    """Evaluate the alarms where nobody else does, and notify of what changed.

    Relay and dead-letter processes do both without being asked: see `eventbus.monitoring.watcher`.
    """
    if alarms.is_due():
        alarms.evaluate()
        notifier.deliver()
