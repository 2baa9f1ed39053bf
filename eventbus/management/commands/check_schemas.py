import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from eventbus.management.base import BusCommand
from eventbus.schemas.folder import published
from eventbus.schemas.review import review
from eventbus.schemas.sarif import sarif, told


class Command(BusCommand):
    help = (
        "Compares the contracts in the code with their published schemas: what changed, whether old events are still "
        "read (BACKWARD), whether old code reads the new ones (FORWARD), both (FULL) or neither (BREAKING), why, which "
        "consumers break, and what to do. Needs no server. Exit 1 where something is wrong."
    )
    advice = "Can the folder of schemas be read?"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--sarif", action="store_true", help="as SARIF 2.1.0, for code hosts")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = review()
        if options["sarif"]:
            self.stdout.write(json.dumps(sarif(findings), indent=2))
        elif options["json"]:
            self.stdout.write(json.dumps({"findings": [each.as_json() for each in findings]}))
        elif not findings:
            self.stdout.write(f"{len(published())} published schemas, and the code keeps them all.")
        else:
            self.stdout.write("\n\n".join(map(told, findings)))
        if findings:
            raise CommandError(f"{len(findings)} of the contracts do not keep what is published.")
