import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.template.defaultfilters import pluralize

from eventbus.dead_letters.services import discard
from eventbus.management.base import BusCommand
from eventbus.management.options import actor, add_filters, require_filter, selection


class Command(BusCommand):
    help = (
        "Gives dead letters up for good, with a reason. They can still be read until they are dropped. "
        "Exit 0; 1 if none matches; 2 if the database is away or the filters make no sense."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_filters(parser)
        parser.add_argument("--all", action="store_true", help="every dead letter that waits")
        parser.add_argument("--reason", required=True, help="why; it is kept with them")
        parser.add_argument("--dry-run", action="store_true", help="only say how many it would be")

    def handle(self, *args: Any, **options: Any) -> None:
        chosen = selection(options)
        require_filter(chosen, options["all"])
        if not options["reason"].strip():
            raise CommandError("Say why: --reason is empty.", returncode=2)
        if options["dry_run"]:
            found = chosen.unsettled().count()
            count = min(found, options["limit"]) if options["limit"] else found
        else:
            count = discard(chosen, reason=options["reason"], by=actor(), limit=options["limit"])
        if not count:
            raise CommandError("No dead letter that waits matches.")
        if options["json"]:
            self.stdout.write(json.dumps({"discarded": 0 if options["dry_run"] else count, "matched": count}))
        else:
            self.stdout.write(
                f"{'Would discard' if options['dry_run'] else 'Discarded'} {count} dead letter{pluralize(count)}."
            )
