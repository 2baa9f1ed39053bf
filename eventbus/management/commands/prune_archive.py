import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.template.defaultfilters import pluralize

from eventbus.archive import history, retention
from eventbus.conf import bus_settings
from eventbus.management.base import BusCommand


class Command(BusCommand):
    works_as_owner = True
    help = (
        "Drops the months of the archive, and of the inbox with them, that are older than ARCHIVE_DAYS. Beat does it "
        "every day. A month stays, and all later ones with it, while one of its events is in the outbox, is an open "
        "dead letter or waits behind one. Exit 0 if nothing due is left, 1 if a month stays, 2 if the database is away."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="only say which months would go")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            months = retention.due() if options["dry_run"] else list(retention.prune())
        except ImproperlyConfigured as error:
            raise CommandError(str(error), returncode=2) from error
        begins, without_month = history.archive_begins(), retention.events_without_month()
        if options["json"]:
            report = {
                "dryRun": options["dry_run"],
                "months": [
                    {"month": str(month), "events": month.events, "keptBecause": month.kept_because} for month in months
                ],
                "begins": begins and begins.isoformat(),
                "withoutMonth": without_month,
            }
            self.stdout.write(json.dumps(report))
        else:
            self._print(months, "would go" if options["dry_run"] else "is gone")
            self.stdout.write(f"The archive is whole since {begins:%Y-%m}." if begins else "The archive is whole.")
            if without_month:
                verb = pluralize(without_month, " is,s are")
                self.stdout.write(f"{without_month} event{verb} of no month yet (the default partition).")
        if any(month.kept_because for month in months):
            sys.exit(1)

    def _print(self, months: list[retention.Month], verb: str) -> None:
        if not months:
            self.stdout.write(f"Nothing is older than {bus_settings.ARCHIVE_DAYS} days.")
        for month in months:
            if month.kept_because:
                self.stdout.write(f"{month} stays: {'; '.join(month.kept_because)}")
            else:
                self.stdout.write(f"{month} {verb}: {month.events} event{pluralize(month.events)}")
