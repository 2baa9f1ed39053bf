import json
from argparse import ArgumentParser
from typing import Any

from amqp import PreconditionFailed
from django.core.management.base import CommandError

from eventbus.broker import topology
from eventbus.broker.connection import BROKER_ERRORS, connect, declaring_url, shown
from eventbus.management.base import BusCommand
from eventbus.relay import lost_queues
from eventbus.subscriptions.noting import note_subscriptions, unheld


class Command(BusCommand):
    help = (
        "Declares exchanges, queues and bindings from the consumer declarations, notes since when each consumer "
        'listens, and starts the backfill of those that are new and declare start="beginning"; the process '
        "worker_dead_letters carries it out. Safe to repeat. Exit 1 and the differences where a queue exists with "
        "other arguments (drift), or where a new major version of an event would be recorded beside processes that "
        "don't know it; 2 if a server is away."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="only print what would be declared")

    def handle(self, *args: Any, **options: Any) -> None:
        queues = [
            {"queue": queue.name, "exchange": queue.exchange, "keys": queue.routing_keys} for queue in topology.queues()
        ]
        if not options["dry_run"]:
            self._declare()
        if options["json"]:
            self.stdout.write(json.dumps({"declared": not options["dry_run"], "queues": queues}))
            return
        for queue in queues:
            self.stdout.write(f"{queue['queue']}  <-  {queue['exchange'] or '(default)'} {', '.join(queue['keys'])}")

    def _declare(self) -> None:
        if new := unheld():
            held = ",".join(f"{kind}=…" for kind in new)
            raise CommandError(
                f"Processes are at work that can't read the new major version of {', '.join(new)}. Until the last of "
                f"them is gone, set RECORD_AS to the one that they know ({held}) for all that is new. Or stop them "
                "first."
            )
        try:
            with connect(declaring_url()) as broker:
                lost_queues.declare(broker)
                topology.declare(broker)  # compares what was there
        except PreconditionFailed as drift:
            raise CommandError(
                f"Drift: {drift.reply_text}. "
                "Arguments of a queue can't be changed: drain it, delete it, and run this again."
            ) from drift
        except BROKER_ERRORS as error:
            raise CommandError(
                f"No broker at {shown(declaring_url())}: {error}. Is it running?", returncode=2
            ) from error
        for backfill in note_subscriptions():
            self.stderr.write(
                f"{backfill.consumer} is new: worker_dead_letters, which also drives replays and backfills, "
                f"sends it {backfill.total} archived events."
            )
