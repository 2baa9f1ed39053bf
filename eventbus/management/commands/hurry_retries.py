import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from eventbus.management.base import BusCommand
from eventbus.management.options import actor, add_retry_filters, retry_filters
from eventbus.retries.services import hurry


class Command(BusCommand):
    help = (
        "Has retries that wait sent at once, such as after a repair. Exit 0; 1 if none matches that is not due yet; "
        "2 if the database is away or the filters make no sense."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_retry_filters(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        hurried = hurry(**retry_filters(options), by=actor())
        if not hurried:
            raise CommandError("No retry that waits for its time matches.")
        self.stdout.write(json.dumps({"hurried": hurried}) if options["json"] else f"Hurried {hurried} retries.")
