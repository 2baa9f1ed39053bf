import dataclasses
import json
import sys
from argparse import ArgumentParser
from time import monotonic, sleep
from typing import Any

from rich.console import Console
from rich.table import Table

from eventbus.management.base import UNREACHABLE, BusCommand
from eventbus.monitoring.status import BusStatus, bus_status
from eventbus.relay.older_readers import OlderReaders
from eventbus.restores.backups import BackupStatus


class Command(BusCommand):
    help = (
        "Shows outbox, queues and processes. Exit 0 if a relay and a worker for every consumer are connected, else 1. "
        "With --wait or --drained, first waits until that is so."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--wait", type=float, default=0, metavar="SECONDS", help="wait at most this long for all to be there"
        )
        parser.add_argument("--drained", action="store_true", help="wait also until outbox and queues are empty")

    def handle(self, *args: Any, **options: Any) -> None:
        deadline = monotonic() + options["wait"]
        while True:
            try:
                status = bus_status()
            except UNREACHABLE:
                if monotonic() > deadline:
                    raise
                sleep(0.3)
                continue
            fine = status.is_staffed and (status.is_drained or not options["drained"])
            if fine or monotonic() > deadline:
                break
            sleep(0.3)
        if options["json"]:
            self.stdout.write(json.dumps(dataclasses.asdict(status) | {"staffed": status.is_staffed}))
        else:
            print_status(status)
        if not fine:
            sys.exit(1)


def print_status(status: BusStatus) -> None:
    """The status as a table for a terminal."""
    table = Table("consumer", "waiting", "retries", "workers", "dead letters", title=None)
    for queue in status.queues:
        ready = "no queue" if queue.ready is None else str(queue.ready)
        table.add_row(queue.name, ready, retries(status, queue.name), str(queue.consumers), str(queue.dead))
    for name in sorted(status.retries.keys() - {queue.name for queue in status.queues}):
        table.add_row(f"{name} (gone)", "?", retries(status, name), "?", "?")
    console = Console()
    console.print(table)
    signs = Table("process", "alive", "last sign of life", "version")
    for process in status.processes:
        last = "never" if process.last_seconds is None else f"{process.last_seconds:.0f} s ago"
        signs.add_row(process.kind, str(process.alive), last, ", ".join(process.versions))
    console.print(signs)
    blocked = f", {status.blocked} of them wait for a full queue" if status.blocked else ""
    for full, events in sorted(status.full.items()):
        console.print(f"full: {full}, for which {events} events wait in the outbox")
    console.print(
        f"outbox: {status.outbox} events{blocked}, oldest {status.oldest_seconds:.1f} s; relays: {status.relays}"
    )
    for older in status.older_readers:
        console.print(reading(older))
    if status.backups is not None:
        console.print(backups(status.backups))


def reading(older: OlderReaders) -> str:
    """Who reads an older version of a contract, in words."""
    names = [*older.consumers, *(f"{name} (another program's)" for name in older.others)]
    names += ["perhaps others, which only the management API could tell"] if older.unasked else []
    return f"{older.event_type} {older.version} is read by {', '.join(names) or 'nobody any more'}"


def backups(found: BackupStatus) -> str:
    """What a restore could bring back, in words."""
    age = "never" if found.backup_age is None else f"{found.backup_age / 3600:.1f} h ago"
    fails = ", and the last file FAILED" if found.archive_fails else ""
    return f"last backup: {age}; WAL archived {found.archive_lag:.0f} s ago{fails}"


def retries(status: BusStatus, name: str) -> str:
    """How many retries of the consumer wait, and when the next one is due."""
    found = status.retries.get(name)
    if found is None:
        return "0"
    due = f"next in {found.next_seconds:.0f} s" if found.next_seconds > 0 else f"due for {-found.next_seconds:.0f} s"
    return f"{found.waiting}, {due}" + (f", {found.refused} refused by its queue" if found.refused else "")
