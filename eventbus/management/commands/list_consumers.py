import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from eventbus.contracts.registry import CONTRACTS
from eventbus.management.base import BusCommand
from eventbus.subscriptions.catalogue import ConsumerEntry, consumer_entries, contract_entries


class Command(BusCommand):
    help = (
        "Shows who listens to what, as the code declares it: each consumer, since when it listens, when it last "
        "handled something, its dead letters and how far its backfill is; then each event and who listens to it. "
        "Exit 0, also where one is quiet or gone; 2 if the database is away or there is no such event."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--event", default="", metavar="TYPE", help="only who listens to this: order.created …")

    def handle(self, *args: Any, **options: Any) -> None:
        kind = options["event"]
        if kind and kind not in (known := {contract.type for contract in CONTRACTS.values()}):
            raise CommandError(f"No event is called {kind}. There are: {', '.join(sorted(known))}.", returncode=2)
        consumers, events = consumer_entries(kind), contract_entries(kind)
        if options["json"]:
            found = {"consumers": [each.as_json() for each in consumers], "events": [each.as_json() for each in events]}
            self.stdout.write(json.dumps(found))
            return
        for each in consumers:
            self.stdout.write(heading(each), self.style.MIGRATE_HEADING)
            for line in details(each):
                self.stdout.write(f"    {line}")
        self.stdout.write("")
        for event in events:
            nobody = "nobody: it is internal, its own app's history" if event.internal else "nobody"
            self.stdout.write(f"{event.routing_key}  ->  {', '.join(event.consumers) or nobody}")


def heading(each: ConsumerEntry) -> str:
    """The consumer's name, and what is wrong with it."""
    return each.name + ("  GONE" if each.is_gone else "") + ("  QUIET" if each.is_quiet else "")


def details(each: ConsumerEntry) -> list[str]:
    """What there is to say of a consumer, line by line."""
    lines = [f"listens to {', '.join(each.routing_keys)}, since {each.since}"]
    lines.append(
        f"last handled an event {each.heard_at:%Y-%m-%d %H:%M}" if each.heard_at else "has handled nothing yet"
    )
    if each.declared:
        retry = each.declared.retry
        delays = ", ".join(map(str, retry.delays))
        lines.append(f"worker_{each.declared.group}, batch {each.declared.batch}, {retry.times} retries ({delays} s)")
    lines += each.traits
    if each.backfill_progress:
        lines.append(f"backfill {each.backfill_progress}")
    if each.dead_letters:
        lines.append(f"{each.dead_letters} dead letters")
    return lines
