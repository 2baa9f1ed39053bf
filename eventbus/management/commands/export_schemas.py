import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from eventbus.contracts.event import Event
from eventbus.contracts.registry import CONTRACTS
from eventbus.management.base import BusCommand
from eventbus.schemas.comparing import Verdict, compare
from eventbus.schemas.folder import file_of, load
from eventbus.schemas.writing import schema_of, text_of


class Command(BusCommand):
    help = (
        "Writes the JSON Schema of each version of each contract into the folder of published schemas, where it is not "
        "there yet, or where only its words differ. What is published is never given another meaning: `check_schemas` "
        "says what to do then. Exit 1 where that would be so."
    )
    advice = "Can the folder be written?"

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="only say what would be written")

    def handle(self, *args: Any, **options: Any) -> None:
        missing = [each for each in CONTRACTS.values() if not file_of(each.type, each.version).exists()]
        differing = [each for each in CONTRACTS.values() if each not in missing and differs(each)]
        kept = [each for each in differing if not says_the_same(each)]
        new = [each for each in [*missing, *differing] if each not in kept]
        if not options["dry_run"]:
            for contract in new:
                write(contract)
        written = [file_of(each.type, each.version) for each in new]
        if options["json"]:
            self.stdout.write(json.dumps({"written": sorted(map(str, written)), "kept": sorted(map(named, kept))}))
        else:
            self.stdout.write("\n".join(sorted(map(str, written))) or "Every version has its file.")
        if kept:
            raise CommandError(
                f"Published with another meaning: {', '.join(sorted(map(named, kept)))}. `check_schemas` says what to "
                "do. If nobody has seen it yet, remove its file."
            )


def named(contract: type[Event]) -> str:
    return f"{contract.type} {contract.version}"


def differs(contract: type[Event]) -> bool:
    return load(contract.type, contract.version) != schema_of(contract)


def says_the_same(contract: type[Event]) -> bool:
    """Whether old and new let the same through, whichever writes and whichever reads."""
    old, new = load(contract.type, contract.version), schema_of(contract)
    return compare(old, new).verdict is Verdict.FULL and compare(new, old).verdict is Verdict.FULL


def write(contract: type[Event]) -> None:
    file = file_of(contract.type, contract.version)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text_of(contract))
