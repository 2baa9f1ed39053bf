import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from eventbus import invariants


class Command(BaseCommand):
    help = (
        "Checks the invariants of the whole pipeline over the whole database and names each violation. Run it when "
        "outbox and queues are empty (`bus_status --drained --wait 60`): what is on its way counts as not handled yet. "
        "Exit 0 if all hold, 1 if not."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for machines")

    def handle(self, *args: Any, **options: Any) -> None:
        found = [(each, each.check()) for each in sorted(invariants.registry, key=lambda each: each.code)]
        if options["json"]:
            report = [{"code": each.code, "promise": each.promise, "violations": broken} for each, broken in found]
            self.stdout.write(json.dumps({"holds": not any(broken for _, broken in found), "invariants": report}))
        else:
            for each, broken in found:
                self.stdout.write(f"{'ok    ' if not broken else 'BROKEN'} {each.code} {each.promise}")
                for line in broken[:20]:
                    self.stdout.write(f"         {line}")
                if len(broken) > 20:
                    self.stdout.write(f"         … and {len(broken) - 20} more")
        if any(broken for _, broken in found):
            sys.exit(1)
