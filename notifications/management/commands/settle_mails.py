import json
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from notifications import services


class Command(BaseCommand):
    help = (
        "Settles mails that are in doubt by the mail server's logs: those whose Message-ID is in them become SENT, all "
        "others are sent again. Only mails queued since the given time; give all logs from then on, or a mail goes out "
        "twice. Any text will do in which the ids stand, such as a mail folder. Exit 0, or 2 if a log can't be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("logs", metavar="LOG", nargs="+", type=Path)
        parser.add_argument(
            "--since", required=True, type=moment, metavar="TIME", help="such as 2025-03-01T12:00 (UTC)"
        )
        parser.add_argument("--dry-run", action="store_true", help="only say how many")
        parser.add_argument("--json", action="store_true", help="for machines")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            taken = services.taken_by_server(options["logs"])
        except OSError as error:
            raise CommandError(str(error), returncode=2) from error
        sent, again = services.settle_mails(taken, since=options["since"], dry_run=options["dry_run"])
        if options["json"]:
            self.stdout.write(json.dumps({"sent": sent, "queuedAgain": again, "dryRun": options["dry_run"]}))
        else:
            would = "would be " if options["dry_run"] else ""
            self.stdout.write(f"{sent} mails in doubt had been sent; {again} {would}queued again")


def moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
