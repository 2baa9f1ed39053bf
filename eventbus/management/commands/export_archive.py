import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import msgspec

from eventbus.archive import export
from eventbus.archive.export import Chosen
from eventbus.management.base import BusCommand
from eventbus.management.options import moment
from eventbus.management.progress import progress_bar


class Command(BusCommand):
    advice = "Nothing was put in place."
    help = (
        "Writes events as JSON Lines, one envelope a line as it went on the wire, in the order of their ids, and "
        "FILE.manifest.json with their count and hash, which import_archive checks. Both are put in place when they "
        "are complete. The file holds personal data: only you may read it. Exit 0, or 2 if the database is away or "
        "the file can't be written."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="FILE", help="where to; - is standard output, without a manifest")
        when = "a time such as 2025-03-01 (UTC), or how long ago: 90m, 2h, 3d"
        parser.add_argument("--from", dest="since", type=moment, metavar="TIME", help=f"since then: {when}")
        parser.add_argument("--to", dest="until", type=moment, metavar="TIME", help="before then")
        parser.add_argument("--type", nargs="+", default=[], help="of these event types, such as order.created")
        parser.add_argument("--aggregate", nargs="+", default=[], metavar="ID", help="of these orders, products …")

    def handle(self, *args: Any, **options: Any) -> None:
        chosen = Chosen(options["since"], options["until"], options["type"], options["aggregate"])
        to_stdout = options["file"] == "-"
        with progress_bar(quiet=options["json"]) as bar:
            total = None if bar.disable else export.count(chosen)
            task = bar.add_task("exporting", total=total)

            def progress(events: int) -> None:
                bar.update(task, completed=events)

            if to_stdout:
                manifest = export.write_to(sys.stdout.buffer, chosen, progress)
                sys.stdout.buffer.flush()
            else:
                manifest = export.export_to(Path(options["file"]), chosen, progress)
        report = msgspec.json.encode(manifest).decode()
        said = report if options["json"] else f"{manifest.events} events, sha256 {manifest.sha256}"
        (self.stderr if to_stdout else self.stdout).write(said)
