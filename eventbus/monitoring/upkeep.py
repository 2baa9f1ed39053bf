"""The bus's own periodic tasks."""

import structlog
from celery import shared_task

from eventbus.archive import retention as archive_retention
from eventbus.archive.partitions import ensure_partitions
from eventbus.dead_letters import retention
from eventbus.monitoring import alarms, notifier
from eventbus.subscriptions import activity

log = structlog.get_logger(__name__)


@shared_task(name="eventbus.prune_dead_letters")
def prune_dead_letters() -> None:
    """Warn of open dead letters that are near their end, and drop what has reached it."""
    retention.prune()


@shared_task(name="eventbus.make_partitions")
def make_partitions() -> None:
    """Create the partitions of the coming months."""
    for name in ensure_partitions():
        log.info("partition.created", partition=name)


@shared_task(name="eventbus.prune_archive")
def prune_archive() -> None:
    """Drop the months that are older than ARCHIVE_DAYS; what has to stay is logged."""
    for _ in archive_retention.prune():
        pass


@shared_task(name="eventbus.check_alarms")
def check_alarms() -> None:
    """Evaluate the alarms, and only then notify of what changed: no receiver can keep the states from being stored.

    Then note the consumers' activity: it may take longer than the rest.
    """
    alarms.evaluate()
    notifier.deliver()
    activity.note_activity()
