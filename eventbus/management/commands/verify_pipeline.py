import json
import sys
from argparse import ArgumentParser
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from rich.console import Console
from rich.table import Column, Table

from eventbus.broker.connection import connect
from eventbus.broker.publisher import SEND_ERRORS
from eventbus.conf import bus_settings
from eventbus.management.base import BusCommand
from eventbus.management.options import moment
from eventbus.monitoring import deliveries, invariants
from eventbus.monitoring.invariants import Invariant
from eventbus.restores import queues
from eventbus.restores.evidence import forgotten_by


class Command(BusCommand):
    help = (
        "Checks the invariants of the whole pipeline over the whole database and names each violation. Run it when "
        "outbox and queues are empty (`bus_status --drained --wait 60`): what is on its way counts as not handled yet. "
        "With --repair, sends what a consumer misses to it again from the archive. After a restore to a moment, "
        "--restored-to and --log name what the world outside knows and the database has forgotten. Exit 0 if all hold, "
        "1 if not, 2 if a server is away."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--repair", action="store_true", help="send what a consumer misses to it again")
        parser.add_argument(
            "--restored-to",
            type=moment,
            metavar="TIME",
            help="look through the queues for events that were recorded since then and are not in the archive; "
            "workers must be stopped",
        )
        parser.add_argument(
            "--log",
            nargs="+",
            default=[],
            type=Path,
            metavar="FILE",
            help="logs of the mail server and the gateway, or a list of order ids: names what the database lacks",
        )
        parser.add_argument("--dry-run", action="store_true", help="with --repair: only say how many would be sent")

    def handle(self, *args: Any, **options: Any) -> None:
        repaired = self._repair(options["dry_run"]) if options["repair"] else 0
        every = sorted([*invariants.INVARIANTS, *outside(options)], key=lambda each: each.code)
        found = [(each, each.check()) for each in every]
        if options["json"]:
            report = [{"code": each.code, "promise": each.promise, "violations": broken} for each, broken in found]
            holds = not any(broken for _, broken in found)
            self.stdout.write(
                json.dumps(
                    {"holds": holds, "invariants": report, "deliveries": deliveries.balance(), "repaired": repaired}
                )
            )
        else:
            print_balance(deliveries.balance())
            if options["repair"]:
                self.stdout.write(f"{repaired} events sent again{' (dry run: not sent)' if options['dry_run'] else ''}")
            for each, broken in found:
                self.stdout.write(f"{'ok    ' if not broken else 'BROKEN'} {each.code} {each.promise}")
                for line in broken[:20]:
                    self.stdout.write(f"         {line}")
                if len(broken) > 20:
                    self.stdout.write(f"         … and {len(broken) - 20} more")
        if any(broken for _, broken in found):
            sys.exit(1)

    def _repair(self, dry_run: bool) -> int:
        if dry_run:
            return sum(each.get("missing", 0) for each in deliveries.balance().values())
        try:
            return sum(deliveries.repair(bus_settings.BROKER_URL))
        except SEND_ERRORS as error:
            raise CommandError(f"The broker took no more: {error}. Run it again.", returncode=2) from error


def outside(options: dict[str, Any]) -> list[Invariant]:
    """What is asked for of the world outside, as further promises."""
    asked = []
    if since := options["restored_to"]:
        promise = f"no queue has an event since {since:%Y-%m-%d %H:%M:%S} UTC that the archive lacks"
        asked.append(Invariant("R", promise, lambda: in_queues(since)))
    if options["log"]:
        for what, unknown in forgotten_by(options["log"]).items():
            promise = f"the logs name no {what} that the database lacks"
            asked.append(Invariant("R", promise, partial(list, unknown)))
    return asked


def in_queues(since: datetime) -> list[str]:
    """The events that only the queues have, in words; all of them stay there."""
    with connect(bus_settings.BROKER_URL) as broker:
        return queues.look_through(broker.channel(), queues.names(broker), since).named()


def print_balance(balance: dict[str, dict[str, int]]) -> None:
    """The delivery audit as a table for a terminal: a row per consumer."""
    outcomes = ["done", "waiting", "dead", "discarded", "outbox", "retrying", "replaying", "missing"]
    table = Table(Column("consumer", overflow="fold"), *outcomes)
    for consumer, counts in sorted(balance.items()):
        table.add_row(consumer, *(str(counts.get(outcome, 0) or "") for outcome in outcomes))
    # A pipe has no width: wide enough there that no name is cut short.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
