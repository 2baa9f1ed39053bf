import json
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from eventbus.archive.files import lines_of
from eventbus.management.base import BusCommand
from eventbus.management.options import moment
from eventbus.restores.queues import described
from eventbus.restores.reconciling import NotRemoved, Sorted, StillConsumed, reconcile


class Command(BusCommand):
    works_as_owner = True
    advice = "Nothing was lost: run it again."
    help = (
        "Brings database and broker together after the database was restored to a moment (or a failover lost the last "
        "commits). Stop web, workers and worker_dead_letters first. Events in queues that the database has forgotten "
        "are taken back where an app can do so, such as orders; left out where they are made again by themselves; all "
        "others are named for you. Mails that may have gone out are held, and every consumer gets again what it has "
        "not handled. All forgotten events are kept in the file. Exit 0; 1 if consumers run; 2 if a server is away or "
        "the file can't be written."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("restored_to", type=moment, metavar="TIME", help="to which it was restored, in UTC")
        parser.add_argument(
            "--into", required=True, type=Path, metavar="FILE", help="where to keep what is forgotten; a new file"
        )
        parser.add_argument(
            "--events", type=Path, metavar="FILE", help="events of the old database: export_archive --from TIME"
        )
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            result = reconcile(
                options["restored_to"],
                options["into"],
                events=saved(options["events"]),
                dry_run=options["dry_run"],
            )
        except (StillConsumed, NotRemoved) as refused:
            raise CommandError(str(refused)) from refused
        except FileExistsError as error:
            raise CommandError(f"{options['into']} is there already: name another file.", returncode=2) from error
        if options["json"]:
            self.stdout.write(json.dumps({"dryRun": options["dry_run"], **result.as_json()}))
        else:
            self._tell(result, "would be " if options["dry_run"] else "")

    def _tell(self, result: Sorted, would: str) -> None:
        for event in result.taken_back:
            self.stdout.write(f"{would}taken back: {described(event)}")
        for event, why in result.set_aside:
            self.stdout.write(f"for you to decide: {described(event)}: {why}")
        self.stdout.write(
            f"{len(result.taken_back)} forgotten events {would}taken back, {len(result.made_again)} are made again by "
            f"themselves, {len(result.set_aside)} are for you to decide."
        )


def saved(file: Path | None) -> Iterator[bytes]:
    """The envelopes of an export. Raises OSError."""
    if file is not None:
        with file.open("rb") as stream:
            yield from lines_of(stream)
