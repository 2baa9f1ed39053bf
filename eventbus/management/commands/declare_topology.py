import json
from argparse import ArgumentParser
from typing import Any

from amqp import PreconditionFailed
from django.core.management.base import BaseCommand, CommandError
from kombu import Connection

from eventbus.broker import topology
from eventbus.broker.connection import BROKER_ERRORS, connect
from eventbus.conf import bus_settings
from eventbus.subscriptions.noting import note_subscriptions


class Command(BaseCommand):
    help = (
        "Declares exchanges, queues and bindings from the consumer declarations, notes since when each consumer "
        "listens, and starts to fill the new ones that begin at the beginning. Safe to repeat. Exit 1 and the "
        "differences where a queue exists with other arguments (drift)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only print what would be declared")
        parser.add_argument("--json", action="store_true", help="for machines")

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
        try:
            with connect(bus_settings.BROKER_URL) as broker:
                topology.declare(broker)
        except PreconditionFailed as drift:
            raise CommandError(
                f"Drift: {drift.reply_text}. "
                "Arguments of a queue can't be changed: drain it, delete it, and run this again."
            ) from drift
        except BROKER_ERRORS as error:
            raise CommandError(
                f"No broker at {Connection(bus_settings.BROKER_URL).as_uri()}: {error}. Is it running?", returncode=2
            ) from error
        for fill in note_subscriptions():
            self.stderr.write(f"{fill.consumer} is new: worker_dead_letters sends it {fill.total} archived events.")
