import os
import warnings
from argparse import ArgumentParser
from typing import Any

import kombu
from celery.platforms import SecurityWarning
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.celery import app
from eventbus import declarations
from eventbus.bridge import broker_queue, pool_size
from eventbus.celery_settings import UPKEEP_QUEUE
from eventbus.declarations import SMALL

UPKEEP_GROUP = "eventbus"

#: Groups whose worker runs even without a consumer, and does periodic tasks then: that of the upkeep has none, and the
#: folder of the small consumers may be empty.
ALWAYS_THERE = (UPKEEP_GROUP, SMALL)


class Command(BaseCommand):
    help = (
        "Runs the Celery worker of one consumer group (the part of the consumers' names before the dot), with "
        "'consumers' that of the files in consumers/, or with 'eventbus' the one for periodic upkeep. Queues, pool "
        "size and prefetch follow from the declarations."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("group", help="orders, inventory, notifications …, consumers or eventbus")
        parser.add_argument("--only", metavar="CONSUMER", help="run just this consumer of the group")

    def handle(self, *args: Any, **options: Any) -> None:
        group, only = options["group"], options["only"]
        consumers = [c for c in declarations.groups().get(group, []) if only in (None, c.name)]
        if not consumers and (only or group not in ALWAYS_THERE):
            known = ", ".join(sorted({*declarations.groups(), *ALWAYS_THERE}))
            raise CommandError(f"No consumer is called {only or group + '.…'}. Groups: {known}.")
        processes = pool_size(consumers, settings.WORKER_PROCESSES) if consumers else 1
        queues: list[kombu.Queue] = [broker_queue(consumer, len(consumers), processes) for consumer in consumers]
        if not queues:
            queues.append(UPKEEP_QUEUE)
        app.conf.task_queues = queues
        settings.DATABASES["default"]["OPTIONS"]["application_name"] = f"worker {only or group}"
        # It warns root of pickled messages, and we accept none.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        app.worker_main(
            [
                # Before the subcommand: its banner is no log line.
                "--quiet",
                "worker",
                # The pid, because two nodes of one name on a host would fight for the control queue.
                f"--hostname={only or group}-{os.getpid()}@%h",
                f"--concurrency={processes}",
                "--prefetch-multiplier=1",
                "--without-gossip",
                "--without-mingle",
                "--loglevel=INFO",
            ]
        )
