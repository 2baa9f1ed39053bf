"""One Celery task per declared consumer, named after it.

They are made when this is imported, which Celery does after Django is ready, and so after every consumer is declared.
"""

import gc
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog
from billiard.util import get_pdeathsig
from celery import Task, shared_task
from celery.exceptions import Reject, Retry
from celery.signals import task_failure, task_prerun, worker_before_create_process
from django.apps import apps
from django.db import DatabaseError, InterfaceError, close_old_connections

from eventbus.declaration import CONSUMERS, Consumer
from eventbus.metrics import totals
from eventbus.metrics.catalogue import DUPLICATES
from eventbus.worker import outside, processing
from eventbus.worker.delivery import Delivery
from eventbus.worker.turns import turns

log = structlog.get_logger(__name__)


class ConsumerTask(Task):
    """The task of a consumer: its request knows how to settle a delivery."""

    Request = "eventbus.worker.celery_consumer:BusRequest"
    # The bus has logged it, with its ids; Celery would log it again.
    throws = (processing.DeadLettered,)
    acks_on_failure = False
    typing = False


def make_task(consumer: Consumer) -> Any:
    """The Celery task that runs a consumer's deliveries in a pool process."""

    @shared_task(name=consumer.name, base=ConsumerTask, time_limit=consumer.killed_after)
    def run(deliveries: Sequence[Delivery], put_back: bool = False, pipe: int | None = None) -> dict[str, int]:
        try:
            if put_back:
                processing.put_back(consumer, deliveries)
            if len(deliveries) == 1:
                new = processing.run_one(consumer, deliveries[0])
            elif consumer.side_effects:
                new = outside.run_outside(consumer, deliveries, pipe)
            else:
                new = processing.run_batch(consumer, deliveries)
        except processing.BatchFailed as error:
            raise Reject(str(error), requeue=True) from error
        except (outside.Stopped, processing.Unsettled) as unsettled:
            raise Reject(unsettled, requeue=True) from unsettled
        except processing.Postponed as postponed:
            # Celery's own word for it: acknowledged and shown as RETRY, and nothing is published.
            raise Retry(str(postponed), exc=postponed) from postponed
        note_duplicates(consumer, len(deliveries) - new)
        return {"events": len(deliveries), "new": new}

    return run


def note_duplicates(consumer: Consumer, number: int) -> None:
    """Count them, at once: a pool process gives no signs of life with which it could be done later."""
    if number > 0:
        DUPLICATES.add(number, consumer.name)
        try:
            totals.flush()
        except (DatabaseError, InterfaceError) as error:
            log.warning("totals.kept", error=f"{type(error).__name__}: {error}")


apps.check_models_ready()
for declared in CONSUMERS.values():
    make_task(declared)


@worker_before_create_process.connect
def make_turns(sender: Any, **_: Any) -> None:
    """Of the pool's processes each has one run at most."""
    turns.open(sender._processes)


@worker_before_create_process.connect
def keep_memory_shared(**_: Any) -> None:
    """What is loaded by now stays one with the pool process: the garbage collector would write to each object of it,
    and each page that is written to becomes a copy."""
    # Celery begins a pool process with its counterpart, which loads a parser of C where cffi is there: 6 of the 11 MB
    # that each pool process held for itself.
    with suppress(OSError):
        get_pdeathsig()
    gc.collect()
    gc.freeze()


@task_prerun.connect
def drop_broken_connections(**_: Any) -> None:
    """After a database restart the next task gets a new connection."""
    close_old_connections()


@task_failure.connect
def log_failure(sender: Task, exception: Exception, **_: Any) -> None:
    """Of a task that is no consumer's. `run_one` has logged those, with their ids."""
    if not isinstance(sender, ConsumerTask):
        log.error("task.failed", task=sender.name, error=f"{type(exception).__name__}: {exception}", exc_info=exception)
