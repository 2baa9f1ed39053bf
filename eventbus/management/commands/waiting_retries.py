import json
import sys
from argparse import ArgumentParser
from typing import Any

from rich.console import Console
from rich.table import Table

from eventbus.management.base import BusCommand
from eventbus.management.options import consumer_with_retries, positive
from eventbus.retries.queries import retry_as_json, waiting_retries


class Command(BusCommand):
    help = (
        "Lists the retries that wait, what is due first coming first: consumer, event, the attempt to come, when it is "
        "due, and the last error. Exit 0, also where there is none; 2 if the database is away or there is no such "
        "consumer."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--consumer", default="", help="of this consumer")
        parser.add_argument("--limit", type=positive, metavar="N", default=100, help="at most N (100)")

    def handle(self, *args: Any, **options: Any) -> None:
        found = waiting_retries(consumer=consumer_with_retries(options["consumer"]))
        total, rows = found.count(), [retry_as_json(retry) for retry in found[: options["limit"]]]
        if options["json"]:
            self.stdout.write(json.dumps({"total": total, "retries": rows}))
            return
        table = Table("id", "due at", "consumer", "event", "of", "attempt", "refused", "last error")
        for row in rows:
            name = row["consumer"] + (" (gone)" if row["gone"] else "")
            about = (row["eventType"] or row["eventId"] or "?", row["aggregateId"], str(row["attempt"]))
            table.add_row(
                str(row["id"]), row["dueAt"][:19], name, *about, str(row["refusals"] or ""), row["lastError"][:80]
            )
        # A pipe has no width: long enough there that no id is broken.
        console = Console(width=None if sys.stdout.isatty() else 200)
        console.print(table)
        console.print(f"{len(rows)} of {total} waiting retries")
