import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from eventbus.archive import import_
from eventbus.archive.files import ArchiveFileError, read_manifest
from eventbus.archive.import_ import ArchiveConflict, Imported
from eventbus.management.base import BusCommand
from eventbus.management.progress import progress_bar


class Command(BusCommand):
    works_as_owner = True
    advice = "Run it again: it goes on."
    help = (
        "Stores the events of a file that export_archive wrote. First the whole file is checked against its manifest "
        "and every event against its contract; then it is stored in batches, and what is here already is skipped, so "
        "that after a kill the same command goes on. The events are sent to nobody: replay_events and "
        "rebuild_projection do that. Exit 0; 1 if the file is wrong or the archive has other events in its place; 2 "
        "if the database is away or the file can't be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="FILE", type=Path, help="beside it lies FILE.manifest.json")
        parser.add_argument("--dry-run", action="store_true", help="check all, and store nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            done = self._import(options["file"], options["dry_run"], quiet=options["json"])
        except (ArchiveFileError, ArchiveConflict) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            report = {"dryRun": options["dry_run"], "stored": done.stored, "skipped": done.skipped}
            self.stdout.write(json.dumps(report))
        else:
            verb = "would be stored" if options["dry_run"] else "stored, and sent to nobody"
            self.stdout.write(f"{done.stored} events {verb}; {done.skipped} were here already.")

    def _import(self, file: Path, dry_run: bool, *, quiet: bool) -> Imported:
        with progress_bar(quiet=quiet) as bar:
            total = read_manifest(file).events
            check, store = (bar.add_task(step, total=total) for step in ("checking", "storing"))
            _, months = import_.verify(file, lambda events: bar.update(check, completed=events))
            bar.update(check, completed=total)
            return import_.import_from(
                file, months, lambda events: bar.update(store, completed=events), dry_run=dry_run
            )
