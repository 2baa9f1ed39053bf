import json
import sys
from argparse import ArgumentParser
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from eventbus.management.base import BusCommand
from eventbus.monitoring import alarms, notifier
from eventbus.monitoring.models import Alarm, AlarmState
from eventbus.monitoring.rules import RULES


class Command(BusCommand):
    help = (
        "Evaluates every alarm rule once, remembers the states, and mails or posts each change (ALARM_EMAIL, "
        "ALARM_WEBHOOK_URL). Relays and dead-letter processes do the same every 30 seconds; a call of this counts as "
        "one more evaluation. "
        "Exit 0 if nothing fires, 1 if something does, 2 if the database does not answer."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="measure, but store and send nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        found = alarms.evaluate(dry_run=options["dry_run"])
        if not options["dry_run"]:
            notifier.deliver()
        firing = [alarm for alarm in found if alarm.state == AlarmState.FIRING]
        if options["json"]:
            self.stdout.write(json.dumps({"firing": len(firing), "alarms": [as_data(alarm) for alarm in found]}))
        else:
            print_alarms(found)
        if firing:
            sys.exit(1)


def as_data(alarm: Alarm) -> dict[str, Any]:
    rule = RULES[alarm.name]
    return {
        "alarm": alarm.name,
        "subject": alarm.subject,
        "state": alarm.state,
        "value": alarm.value,
        "threshold": rule.threshold,
        "since": alarm.since.isoformat(),
        "measures": rule.measures,
        "advice": rule.advice,
    }


def print_alarms(found: list[Alarm]) -> None:
    """What is not as it should be as a table for a terminal, and what to do about what fires."""
    table = Table(
        "state", Column("alarm", no_wrap=True), Column("subject", overflow="fold"), "value", "limit", "since (UTC)"
    )
    console = Console()
    wrong = [alarm for alarm in found if alarm.state != AlarmState.OK]
    for alarm in wrong:
        table.add_row(
            alarm.state,
            alarm.name,
            alarm.subject,
            f"{alarm.value:g}",
            f"{RULES[alarm.name].threshold:g}",
            f"{alarm.since:%d %b %H:%M}",
            style="bold red" if alarm.state == AlarmState.FIRING else "yellow",
        )
    if wrong:
        console.print(table)
    for name in dict.fromkeys(alarm.name for alarm in wrong if alarm.state == AlarmState.FIRING):
        console.print(f"[bold]{name}[/]: {RULES[name].measures}. {RULES[name].advice}")
    console.print(f"{len(found) - len(wrong)} of {len(found)} measured values are as they should be.")
