import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from eventbus.dead_letters import queries
from eventbus.dead_letters.dry_run import DryRun, DryRunRefused, dry_run
from eventbus.dead_letters.models import DeadLetter
from eventbus.management.base import BusCommand


class Command(BusCommand):
    help = (
        "Shows one dead letter: error, traceback, attempts, payload, replays. With --try it also runs the handler on "
        "it in a transaction that is rolled back, and shows what it would have done or how it fails. Exit 0; "
        "1 if there is no such dead letter or the handler fails; 2 if it can't be tried or the database is away."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("id", type=int, help="its number, as list_dead_letters shows it")
        parser.add_argument("--try", action="store_true", help="run the handler and roll everything back")

    def handle(self, *args: Any, **options: Any) -> None:
        letter = DeadLetter.objects.select_related("group").filter(pk=options["id"]).first()
        if letter is None:
            raise CommandError(f"There is no dead letter {options['id']}: never, or it was dropped after its days.")
        shown = queries.letter_in_full(letter)
        try:
            trial = dry_run(letter) if options["try"] else None
        except DryRunRefused as error:
            raise CommandError(str(error), returncode=2) from error
        if options["json"]:
            self.stdout.write(json.dumps(shown | ({"trial": trial.as_json()} if trial else {})))
        else:
            self._print(shown)
            if trial:
                self.stdout.write("\n".join(trial_lines(trial)))
        if trial and trial.verdict == "fails":
            sys.exit(1)

    def _print(self, shown: dict[str, Any]) -> None:
        apart = ("traceback", "payload", "attempts", "replays", "headers")
        for name, value in shown.items():
            if name not in apart and value not in (None, ""):
                self.stdout.write(f"{name:15} {value}")
        self.stdout.write("\nattempts")
        for attempt in shown["attempts"]:
            self.stdout.write(f"  {attempt.get('attempt')}  {attempt.get('at')}  {attempt.get('error')}")
        for item in shown["replays"]:
            self.stdout.write(f"\nreplay {item['replay']} by {item['by']}: {item['outcome']} {item['error']}")
            if item["diff"]:
                self.stdout.write(item["diff"])
        self.stdout.write(f"\n{shown['traceback'].rstrip()}\n\npayload\n{shown['payload']}")


def trial_lines(trial: DryRun) -> list[str]:
    """A trial for people."""
    lines = ["", f"tried, and rolled back: {trial.verdict}"]
    lines += [
        f"  would publish {event['type']} {event['version']} {event['aggregate_id']}" for event in trial.published
    ]
    lines += [f"  would {verb}: {rows} rows" for verb, rows in sorted(trial.writes.items())]
    return lines + ([trial.traceback.rstrip()] if trial.traceback else [])
