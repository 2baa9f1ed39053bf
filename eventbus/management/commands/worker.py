import os
import warnings
from argparse import ArgumentParser
from typing import Any

import kombu
from celery.platforms import SecurityWarning
from django.core.management.base import BaseCommand, CommandError

from eventbus.conf import bus_settings
from eventbus.db.owner import become_owner
from eventbus.db.pooler import go_through_pooler, refuse_pooler
from eventbus.db.sessions import name_sessions
from eventbus.declaration import consumers_by_group
from eventbus.heartbeats import beating
from eventbus.heartbeats.processes import worker_kind
from eventbus.worker import lock_waits
from eventbus.worker.celery_settings import celery_app
from eventbus.worker.consumed_queues import broker_queue, upkeep_queue
from eventbus.worker.lanes import UPKEEP_PROCESSES, may_share_sessions, pool_size

UPKEEP_GROUP = "eventbus"


class Command(BaseCommand):
    help = (
        "Runs the Celery worker of one consumer group (the part of the consumers' names before the dot), of all small "
        "consumers, or with 'eventbus' the one for periodic upkeep. Queues, pool size and prefetch follow from the "
        "declarations."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("group", help="an app, the folder of the small consumers, or eventbus")
        parser.add_argument("--only", metavar="CONSUMER", help="run just this consumer of the group")

    def handle(self, *args: Any, **options: Any) -> None:
        # Groups whose worker runs even without a consumer, and does periodic tasks then: that of the upkeep has none,
        # and the folder of the small consumers may be empty.
        always_there = (UPKEEP_GROUP, bus_settings.SMALL_CONSUMERS)
        app = celery_app()
        group, only = options["group"], options["only"]
        consumers = [c for c in consumers_by_group().get(group, []) if only in (None, c.name)]
        if not consumers and (only or group not in always_there):
            known = ", ".join(sorted({*consumers_by_group(), *always_there}))
            raise CommandError(f"No consumer is called {only or group + '.…'}. Groups: {known}.")
        processes = pool_size(consumers, bus_settings.WORKER_PROCESSES) if consumers else UPKEEP_PROCESSES
        queues: list[kombu.Queue] = [broker_queue(consumer, len(consumers), processes) for consumer in consumers]
        if not queues:
            queues.append(upkeep_queue())
        app.conf.task_queues = queues
        if group == UPKEEP_GROUP:
            # It makes and drops the archive's partitions.
            become_owner()
        if may_share_sessions(consumers):
            go_through_pooler()
        else:
            refuse_pooler()
        settings: dict[str, Any] = {"lock_timeout": lock_waits.LONG} if consumers else {}
        name_sessions(f"worker {only or group}", **settings)
        beating.begin(worker_kind(group), "worker")
        # It warns root of pickled messages, and we accept none.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        app.worker_main(
            [
                # Before the subcommand: its banner is not a log line.
                "--quiet",
                "worker",
                # The pid, because two nodes of one name on a host would fight for the control queue.
                f"--hostname={only or group}-{os.getpid()}@%h",
                f"--concurrency={processes}",
                "--prefetch-multiplier=1",
                "--loglevel=INFO",
            ]
        )
