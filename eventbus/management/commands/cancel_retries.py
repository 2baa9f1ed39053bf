import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from eventbus.dead_letters.cancelling import cancel
from eventbus.management.base import BusCommand
from eventbus.management.options import actor, add_retry_filters, retry_filters
from eventbus.retries.queries import waiting_retries


class Command(BusCommand):
    help = (
        "Makes dead letters of retries that wait: they are not tried again by themselves, and can be replayed. Exit 0; "
        "1 if none matches; 2 if the database is away or the filters make no sense."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_retry_filters(parser)
        parser.add_argument("--dry-run", action="store_true", help="only say how many it would be")

    def handle(self, *args: Any, **options: Any) -> None:
        filters = retry_filters(options)
        dry = options["dry_run"]
        count = waiting_retries(**filters).count() if dry else cancel(**filters, by=actor())
        if not count:
            raise CommandError("No retry that waits matches.")
        if options["json"]:
            self.stdout.write(json.dumps({"cancelled": 0 if dry else count, "matched": count}))
        else:
            self.stdout.write(f"{'Would cancel' if dry else 'Cancelled'} {count} retries.")
