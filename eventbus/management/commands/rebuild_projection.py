import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from eventbus.declaration import CONSUMERS, Consumer
from eventbus.errors import InvalidEvent
from eventbus.management.base import BusCommand
from eventbus.management.progress import progress_bar
from eventbus.projections import driver
from eventbus.projections.comparing import Differences
from eventbus.projections.feeding import HandlerFailed
from eventbus.projections.reading import counts, remaining
from eventbus.projections.shadow_tables import RebuildRefused, ShadowTables, old_tables, rebuilt_tables


class Command(BusCommand):
    works_as_owner = True
    advice = "Run it again: it goes on."
    help = (
        "Builds the tables of a projection anew from the archive, beside the live ones and while events flow, then "
        "puts them in their place in one short transaction; the old ones are kept for --back. Killed in the middle, "
        "the next call goes on. Exit 0 if done (with --diff: if nothing differs); 1 if something differs, the handler "
        "fails or the tables were never free; 2 if the database is away or the request makes no sense."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("consumer", help="a consumer that is declared with tables=[…]")
        parser.add_argument(
            "--show", type=int, default=10, metavar="N", help="with --diff: list at most N rows of a kind (default 10)"
        )
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--diff", action="store_true", help="build and compare; the live tables stay as they are")
        what.add_argument("--back", action="store_true", help="take the old tables again, brought up to now")
        what.add_argument("--drop-old", action="store_true", help="remove the old tables")
        what.add_argument("--abandon", action="store_true", help="remove what an unfinished rebuild or --diff left")
        what.add_argument("--dry-run", action="store_true", help="only say how many events a rebuild would read")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            consumer = self._consumer(options["consumer"])
            if options["dry_run"]:
                return self._dry_run(consumer, options["json"])
            with driver.only_one(consumer):
                self._act(consumer, options)
        except RebuildRefused as error:
            raise CommandError(str(error), returncode=2) from error
        except (HandlerFailed, InvalidEvent) as error:
            advice = "Fix it and run this again, or remove what is built with --abandon. The live tables are untouched."
            raise CommandError(f"{error}\n{advice}") from error
        except driver.ProjectionBusy as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("Stopped. Run it again to go on, or with --abandon to leave no trace.") from None
        return None

    def _consumer(self, name: str) -> Consumer:
        consumer = CONSUMERS.get(name)
        if consumer is None:
            known = ", ".join(sorted(each.name for each in CONSUMERS.values() if each.tables)) or "none"
            raise RebuildRefused(f"No consumer is called {name}. Projections: {known}.")
        return consumer

    def _act(self, consumer: Consumer, options: dict[str, Any]) -> None:
        if options["diff"]:
            self._diff(consumer, options)
        elif options["abandon"]:
            self._drop(rebuilt_tables(consumer), options["json"])
        elif options["drop_old"]:
            self._drop(old_tables(consumer), options["json"])
        else:
            self._swap(consumer, options)

    def _swap(self, consumer: Consumer, options: dict[str, Any]) -> None:
        shadow = driver.way_back(consumer) if options["back"] else self._begin(consumer)
        with _Bar(shadow, quiet=options["json"]) as bar:
            done = driver.swap(shadow, bar.advance)
        if options["json"]:
            report = {"consumer": consumer.name, "events": bar.count, "settled": done.settled, "seconds": done.seconds}
            self.stdout.write(json.dumps({**report, "old": old_tables(consumer).schema}))
            return
        self.stdout.write(
            f"{bar.count} events taken in. {', '.join(consumer.tables)}: exchanged while {consumer.name} stood still "
            f"for {done.seconds:.2f} s. {done.settled} events that it had not handled count as handled.\n"
            f"The tables from before are in {old_tables(consumer).schema}: --back takes them again, --drop-old removes "
            "them."
        )

    def _diff(self, consumer: Consumer, options: dict[str, Any]) -> None:
        shadow = self._begin(consumer)
        with _Bar(shadow, quiet=options["json"]) as bar:
            found = driver.differences(shadow, options["show"], bar.advance)
        if options["json"]:
            tables = [each.as_json() for each in found]
            self.stdout.write(json.dumps({"consumer": consumer.name, "events": bar.count, "tables": tables}))
        else:
            self.stdout.write("\n".join(line for each in found for line in _lines(each)))
        if any(each.total for each in found):
            sys.exit(1)

    def _begin(self, consumer: Consumer) -> ShadowTables:
        shadow, is_new = driver.begin(consumer)
        self.stderr.write(f"Building in {shadow.schema}, {'from the beginning' if is_new else 'going on'}.")
        return shadow

    def _drop(self, shadow: ShadowTables, as_json: bool) -> None:
        existed = shadow.exists
        shadow.drop()
        if as_json:
            self.stdout.write(
                json.dumps({"consumer": shadow.consumer.name, "schema": shadow.schema, "removed": existed})
            )
        else:
            self.stdout.write(f"{shadow.schema} is removed." if existed else f"There is no {shadow.schema}.")

    def _dry_run(self, consumer: Consumer, as_json: bool) -> None:
        shadow = rebuilt_tables(consumer)
        found = dict(counts(shadow))
        if as_json:
            report = {"consumer": consumer.name, "tables": consumer.tables, "begun": shadow.exists, "events": found}
            self.stdout.write(json.dumps(report))
            return
        self.stdout.write(f"{', '.join(consumer.tables)}, from {sum(found.values())} events of the archive:")
        for what, number in found.items():
            self.stdout.write(f"{number:12,} {what}")


def _lines(found: Differences) -> list[str]:
    """Differences for a terminal."""
    if not found.total:
        return [f"{found.table}: no difference."]
    lines = [f"{found.table}: {found.missing} rows missing, {found.extra} too many, {found.different} different."]
    for each in found.first:
        live, rebuilt = each["live"], each["rebuilt"]
        if each["kind"] != "different":
            lines.append(f"  {each['kind']:9} {_values(live or rebuilt)}")
            continue
        same = {name: value for name, value in live.items() if rebuilt[name] == value}
        changed = (f"{name} {value} -> {rebuilt[name]}" for name, value in live.items() if rebuilt[name] != value)
        lines.append(f"  different {_values(same)}: {', '.join(changed)}")
    return lines


def _values(row: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in row.items())


class _Bar:
    """A bar on standard error, where somebody watches; counts in any case."""

    def __init__(self, shadow: ShadowTables, *, quiet: bool) -> None:
        self.count = 0
        self._bar = progress_bar(quiet=quiet)
        self._copy = shadow

    def __enter__(self) -> "_Bar":
        self._bar.start()
        # Counting reads the whole archive: only for somebody who watches.
        total = None if self._bar.disable else remaining(self._copy)
        self._task = self._bar.add_task("rebuilding", total=total)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, events: int) -> None:
        self.count += events
        self._bar.advance(self._task, events)
