import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.template.defaultfilters import pluralize
from rich.console import Console
from rich.table import Table

from eventbus.dead_letters import queries
from eventbus.dead_letters.models import DeadLetterGroup, DeadLetterReplay, DeadLetterState
from eventbus.dead_letters.queries import COUNT_LIMIT
from eventbus.management.base import BusCommand
from eventbus.management.options import add_filters, selection


class Command(BusCommand):
    help = (
        "Lists dead letters, the oldest first; with --groups the groups of like failures, with --replays the replays. "
        "Without --state only open ones. Exit 0, also where there is none; 2 if the database is away."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_filters(parser)
        parser.add_argument("--state", choices=[*DeadLetterState.values, "any"], default=DeadLetterState.OPEN.value)
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--groups", action="store_true", help="show groups instead of dead letters")
        what.add_argument("--replays", action="store_true", help="show replays instead of dead letters")
        what.add_argument("--count", action="store_true", help="only say how many")

    def handle(self, *args: Any, **options: Any) -> None:
        limit = options["limit"] or 100
        if options["groups"]:
            self._groups(limit, options["json"])
        elif options["replays"]:
            self._replays(limit, options["json"])
        else:
            self._dead_letters(limit, options)

    def _dead_letters(self, limit: int, options: dict[str, Any]) -> None:
        letters = selection(options).letters()
        if options["state"] != "any":
            letters = letters.filter(state=options["state"])
        total = letters.count()
        if options["count"]:
            self.stdout.write(json.dumps({"total": total}) if options["json"] else str(total))
            return
        found = letters.select_related("group").defer("body", "traceback").order_by("pk")[:limit]
        rows = [queries.letter_as_json(letter) for letter in found]
        if options["json"]:
            self.stdout.write(json.dumps({"total": total, "letters": rows}))
            return
        table = Table("id", "failed at", "consumer", "event", "order", "group", "error", "state")
        for row in rows:
            error = f"{row['errorClass'].rsplit('.', 1)[-1]}: {row['errorMessage'][:80]}"
            event = row["eventType"] or "?"
            cells = (
                row["failedAt"][:19],
                row["consumer"],
                event,
                row["aggregateId"],
                row["group"],
                error,
                row["state"],
            )
            table.add_row(str(row["id"]), *cells)
        self._print(table, f"{len(rows)} of {total} dead letter{pluralize(total)}")

    def _groups(self, limit: int, as_json: bool) -> None:
        groups = list(DeadLetterGroup.objects.order_by("-last_seen")[:limit])
        open_letters = queries.open_letters(group.pk for group in groups)
        if as_json:
            rows = [
                {
                    "group": group.fingerprint,
                    "state": group.state,
                    "consumer": group.consumer,
                    "errorClass": group.error_class,
                    "place": group.place,
                    "open": open_letters[group.pk],
                    "seen": group.seen,
                    "firstSeen": group.first_seen.isoformat(),
                    "lastSeen": group.last_seen.isoformat(),
                    "note": group.note,
                    "sample": group.sample,
                }
                for group in groups
            ]
            self.stdout.write(json.dumps({"groups": rows}))
            return
        table = Table("group", "state", "open", "seen", "last seen", "consumer", "error", "place")
        for group in groups:
            opened = open_letters[group.pk]
            table.add_row(
                group.fingerprint,
                group.state,
                f"{COUNT_LIMIT}+" if opened > COUNT_LIMIT else str(opened),
                str(group.seen),
                f"{group.last_seen:%Y-%m-%d %H:%M}",
                group.consumer,
                group.error_class.rsplit(".", 1)[-1],
                group.place,
            )
        self._print(table, f"{len(groups)} group{pluralize(len(groups))}")

    def _replays(self, limit: int, as_json: bool) -> None:
        rows = [queries.replay_as_json(replay) for replay in DeadLetterReplay.objects.order_by("-pk")[:limit]]
        if as_json:
            self.stdout.write(json.dumps({"replays": rows}))
            return
        table = Table("replay", "state", "letters", "replayed", "failed", "by", "note")
        for row in rows:
            numbers = (str(row["total"]), str(row["replayed"]), str(row["failed"]))
            table.add_row(row["id"], row["state"], *numbers, row["by"], row["note"])
        self._print(table, f"{len(rows)} replay{pluralize(len(rows))}")

    def _print(self, table: Table, summary: str) -> None:
        # A pipe has no width: long enough there that no id is broken.
        console = Console(width=None if sys.stdout.isatty() else 200)
        console.print(table)
        console.print(summary)
