"""One Celery task per declared consumer, named after it, and the bus's own periodic upkeep."""

from collections.abc import Sequence
from typing import Any

import structlog
from celery import Task, shared_task
from celery.exceptions import Reject, Retry
from celery.signals import task_prerun
from django.db import close_old_connections

from eventbus import alarms, declarations, execution, hearing, notices, pruning
from eventbus.dead_letters import retention
from eventbus.declarations import Consumer
from eventbus.partitions import ensure_partitions
from eventbus.retries import Delivery

log = structlog.get_logger(__name__)


class ConsumerTask(Task):
    """The task of a consumer: its request knows how to settle a delivery."""

    Request = "eventbus.bridge:BusRequest"
    # The bus has logged it, with its ids; Celery would log it again.
    throws = (execution.DeadLettered,)
    typing = False


def make_task(consumer: Consumer) -> Any:
    """The Celery task that runs a consumer's deliveries in a pool process."""

    @shared_task(name=consumer.name, base=ConsumerTask, time_limit=consumer.time_limit + 5)
    def run(deliveries: Sequence[Delivery], put_back: bool = False) -> dict[str, int]:
        try:
            if put_back:
                execution.put_back(consumer, deliveries)
            if len(deliveries) > 1:
                new = execution.run_batch(consumer, deliveries)
            else:
                new = execution.run_one(consumer, deliveries[0])
        except execution.BatchFailed as error:
            raise Reject(str(error), requeue=True) from error
        except execution.Postponed as postponed:
            # Celery's own word for it: acknowledged and shown as RETRY, and nothing is published.
            raise Retry(str(postponed), exc=postponed) from postponed
        return {"events": len(deliveries), "new": new}

    return run


for declared in declarations.registry.values():
    make_task(declared)


@task_prerun.connect
def drop_broken_connections(**_: Any) -> None:
    """After a database restart the next task gets a new connection."""
    close_old_connections()


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
    for _ in pruning.prune():
        pass


@shared_task(name="eventbus.check_alarms")
def check_alarms() -> None:
    """Evaluate the alarms, and only then tell what changed: no receiver can keep the states from being stored.

    Then note who has heard what: it may take longer than the rest.
    """
    alarms.evaluate()
    notices.deliver()
    hearing.note_heard()
