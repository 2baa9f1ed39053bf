import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from rich.console import Console
from rich.table import Table

from eventbus.contracts import Event
from eventbus.listeners import Heard, Listener, by_event, listeners
from eventbus.management.bus_command import BusCommand


class Command(BusCommand):
    help = (
        "Shows who listens to what, as the code declares it: each consumer, since when it listens, when it last heard "
        "something, its dead letters and how far its fill from the archive is; then each event and who listens to it. "
        "Exit 0, also where one is quiet or gone; 2 if the database is away or no event is called so."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--event", default="", metavar="TYPE", help="only who listens to this: order.created …")

    def handle(self, *args: Any, **options: Any) -> None:
        kind = options["event"]
        if kind and kind not in (known := {contract.type for contract in Event.registry.values()}):
            raise CommandError(f"No event is called {kind}. There are: {', '.join(sorted(known))}.", returncode=2)
        consumers, events = listeners(kind), by_event(kind)
        if options["json"]:
            found = {"consumers": [each.as_json() for each in consumers], "events": [each.as_json() for each in events]}
            self.stdout.write(json.dumps(found))
            return
        console = Console(file=self.stdout)  # type: ignore[arg-type]
        console.print(consumer_table(consumers))
        console.print(event_table(events))


def consumer_table(consumers: list[Listener]) -> Table:
    table = Table("consumer", "listens to", "last heard", "what it asks for, and how it is doing", show_lines=True)
    table.columns[0].no_wrap, table.columns[1].overflow = True, "fold"
    for each in consumers:
        heard = f"{each.heard_at:%Y-%m-%d %H:%M}" if each.heard_at else "never"
        table.add_row(
            f"{each.name}\nGONE" if each.is_gone else each.name,
            "\n".join(each.routing_keys),
            f"{heard}\nQUIET" if each.is_quiet else heard,
            "\n".join(details(each)),
        )
    return table


def details(each: Listener) -> list[str]:
    """What there is to say of a consumer, line by line."""
    lines = [f"listens since {each.since}"]
    if each.declared:
        retry = each.declared.retry
        delays = ", ".join(map(str, retry.delays))
        lines.append(f"worker_{each.declared.group}, batch {each.declared.batch}, {retry.times} retries ({delays} s)")
    lines += each.traits
    if each.filling:
        lines.append(f"fill {each.filling}")
    if each.dead_letters:
        lines.append(f"{each.dead_letters} dead letters")
    return lines


def event_table(events: list[Heard]) -> Table:
    table = Table("event", "who listens")
    for each in events:
        nobody = "nobody" if each.announced else "(not announced: its own app's history)"
        table.add_row(each.routing_key, "\n".join(each.consumers) or nobody)
    return table
