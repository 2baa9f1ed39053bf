import json
from argparse import ArgumentParser
from typing import Any

from eventbus.management.bus_command import BusCommand
from inventory.invariants import unlike_their_history
from inventory.openings import open_histories


class Command(BusCommand):
    help = (
        "Finds the products whose stock is not what their history says, and lets their history begin anew, with what "
        "the stock is now. For after an upgrade during which workers of the old version still changed stock without "
        "telling it; if verify_pipeline finds such products at any other time, find out why before you run this. "
        "Whoever asks for a time before is told where the history begins."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="only say which products, at most the first 1,000")

    def handle(self, *args: Any, **options: Any) -> None:
        dry_run = options["dry_run"]
        opened = unlike_their_history() if dry_run else open_histories()
        if options["json"]:
            self.stdout.write(json.dumps({"opened": opened, "dry_run": dry_run}))
            return
        for product_id in opened:
            self.stdout.write(f"{product_id}{' (dry run)' if dry_run else ': its history begins now'}")
        if not opened:
            self.stdout.write("Every product's stock is what its history says.")
