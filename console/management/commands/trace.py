from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from console.telling import Told, answers, told_of
from console.timeline import Row, timeline
from eventbus import database_time, encode_json

STYLES = {"done": "green", "dead": "bold red", "retrying": "yellow", "behind": "yellow", "discarded": "dim"}


class Command(BaseCommand):
    help = (
        "Tells the story of an order, an event or a correlation id: each event, what each consumer made of it, what "
        "waits and what was given up. Exit 1 if nothing is known of it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", help="of an order or an event, or a correlation id")
        parser.add_argument("--json", action="store_true", help="for machines; the same as /trace/ID/?format=json")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            told, now = told_of(options["id"]), database_time()
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(f"{type(error).__name__}: {error}. Are the servers running?", returncode=2) from error
        if told is None:
            raise CommandError(f"Nothing is known under {options['id']}.", returncode=1)
        if options["json"]:
            self.stdout.write(encode_json(told.as_json()).decode())
        else:
            write(Console(soft_wrap=True), told, now)


def write(console: Console, told: Told, now: datetime) -> None:
    """The story as text: answers first, then every step."""
    if told.order:
        order = told.order
        console.print(
            f"Order {order['orderId']}  [bold]{order['status']}[/]  customer {escape(order['customerId'])}  "
            f"{order['totalAmount']} {order['currency']}"
        )
    for answer in answers(told, now):
        letter = f" (dead letter {answer.letter})" if answer.letter else ""
        console.print(
            f"{'!' if answer.kind in ('bad', 'warn') else '·'} {escape(answer.text)}{letter}", highlight=False
        )
    table = Table("when", "what", "became", "attempts", "took", box=None, pad_edge=False)
    for row in timeline(told.story, now).rows:
        table.add_row(row.when, *cells(row, told))
    console.print(table)
    if told.story.is_cut:
        console.print("… and more: the story is longer than what is shown.")


def cells(row: Row, told: Told) -> tuple[str, str, str, str]:
    """What a row says behind its time."""
    indent = "  " * row.depth
    if row.kind == "event" and row.event:
        by = "" if row.event.row.causation_id else told.by_whom(row.event)
        return f"{indent}[bold]{row.title}[/]" + (f" by {escape(by)}" if by else ""), "", "", ""
    if row.delivery is None:
        return f"{indent}{row.title}", "done" if row.kind == "many" else "", "", ""
    each = row.delivery
    took = f"{each.milliseconds:.0f} ms" if each.milliseconds is not None else ""
    style = STYLES.get(each.state.value, "cyan")
    return f"{indent}{row.title}", f"[{style}]{each.state.value}[/]", str(each.attempts or ""), took
