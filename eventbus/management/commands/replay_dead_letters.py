import json
import signal
import sys
from argparse import ArgumentParser
from collections import Counter
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.template.defaultfilters import pluralize
from rich.progress import Progress

from eventbus.conf import bus_settings
from eventbus.dead_letters import queries, replays
from eventbus.dead_letters.dry_run import DryRun, DryRunRefused, dry_run
from eventbus.dead_letters.models import DeadLetterReplay, ReplayState
from eventbus.dead_letters.replay_driver import DeadLetterReplayDriver, tally_of
from eventbus.dead_letters.selection import Selection
from eventbus.leases import RunRefused
from eventbus.management.base import BusCommand
from eventbus.management.commands.show_dead_letter import trial_lines
from eventbus.management.options import actor, add_filters, fraction, rate, require_filter, selection
from eventbus.management.progress import NOTE, progress_bar


class Command(BusCommand):
    help = (
        "Sends dead letters back to the one consumer that could not process them: one, then ten, then the rest, "
        "and stops when too many fail again. What to send is decided at the start; what fails later is not in it. "
        "Ctrl-C pauses, --resume goes on, also after a kill. Exit 0 if every one was processed; 1 if some failed, "
        "it was stopped or nothing matches; 2 if a server is away or the arguments make no sense."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_filters(parser)
        parser.add_argument("--all", action="store_true", help="every dead letter that waits")
        parser.add_argument("--rate", type=rate, metavar="N", help="at most N per second")
        parser.add_argument(
            "--threshold",
            type=fraction,
            default=replays.THRESHOLD,
            metavar="PART",
            help=f"stop when a larger part fails again (default {replays.THRESHOLD})",
        )
        parser.add_argument("--dry-run", action="store_true", help="only say how many of each group would be sent")
        parser.add_argument("--try", action="store_true", help="send nothing: run the handlers here and roll back")
        parser.add_argument("--detach", action="store_true", help="start it, and leave it to worker_dead_letters")
        known = parser.add_mutually_exclusive_group()
        for verb in ("resume", "pause", "cancel"):
            known.add_argument(f"--{verb}", type=UUID, metavar="REPLAY", help=f"{verb} this replay")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            replay_id = self._known_replay(options)
        except RunRefused as error:
            raise CommandError(str(error), returncode=2) from error
        if replay_id is None:
            chosen = selection(options)
            require_filter(chosen, options["all"])
            if options["dry_run"]:
                return self._dry_run(chosen, options)
            if options["try"]:
                return self._try(chosen, options)
            replay_id = self._start(chosen, options)
        if options["pause"] or options["cancel"] or options["detach"]:
            return self._report(replay_id, options["json"])
        self._drive(replay_id, quiet=options["json"])
        self._report(replay_id, options["json"])
        replay = DeadLetterReplay.objects.get(pk=replay_id)
        if replay.state != ReplayState.DONE or tally_of(replay_id).failed:
            sys.exit(1)
        return None

    def _known_replay(self, options: dict[str, Any]) -> UUID | None:
        """The replay that the arguments name, paused, cancelled or running again as they say."""
        replay_id: UUID | None = options["resume"] or options["pause"] or options["cancel"]
        if replay_id is None:
            return None
        if options["pause"]:
            replays.pause_replay(replay_id, by=actor())
        elif options["cancel"]:
            replays.cancel_replay(replay_id, by=actor())
        # One that runs, and whose driver may have died, only needs a driver.
        elif not DeadLetterReplay.objects.filter(pk=replay_id, state=ReplayState.RUNNING).exists():
            replays.resume_replay(replay_id, by=actor())
        return replay_id

    def _start(self, chosen: Selection, options: dict[str, Any]) -> UUID:
        replay = replays.start_replay(
            chosen, by=actor(), rate=options["rate"], threshold=options["threshold"], limit=options["limit"]
        )
        if replay is None:
            raise CommandError(nothing(chosen))
        self.stderr.write(f"Replay {replay.pk}: {replay.total} dead letter{pluralize(replay.total)}.")
        return replay.pk

    def _drive(self, replay_id: UUID, *, quiet: bool) -> None:
        """Drive the replay until it ends. Ctrl-C pauses it."""
        driver = DeadLetterReplayDriver(bus_settings.BROKER_URL)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: driver.stop())
        with progress_bar(NOTE, quiet=quiet) as bar:
            task = bar.add_task("replaying", total=DeadLetterReplay.objects.get(pk=replay_id).total, note="")
            driver.run_one(replay_id, lambda: self._show(replay_id, bar, task))
        if (
            driver.stopping.is_set()
            and DeadLetterReplay.objects.filter(pk=replay_id, state=ReplayState.RUNNING).exists()
        ):
            replays.pause_replay(replay_id, by=actor())
            self.stderr.write(f"Paused. Go on with: replay_dead_letters --resume {replay_id}")

    def _show(self, replay_id: UUID, bar: Progress, task: Any) -> bool:
        """Show how far it is; whether it runs still."""
        tally, replay = tally_of(replay_id), DeadLetterReplay.objects.get(pk=replay_id)
        waiting = f", {tally.in_flight} under way" if tally.in_flight else ""
        bar.update(
            task, completed=tally.replayed + tally.failed, note=f"{tally.failed} failed again{waiting} {replay.note}"
        )
        return replay.state == ReplayState.RUNNING

    def _report(self, replay_id: UUID, as_json: bool) -> None:
        found = queries.replay_as_json(DeadLetterReplay.objects.get(pk=replay_id))
        if as_json:
            self.stdout.write(json.dumps(found))
            return
        numbers = ", ".join(f"{found[name]} {name}" for name in ("replayed", "failed", "waiting", "cancelled"))
        self.stdout.write(f"Replay {replay_id} is {found['state']}: {numbers} of {found['total']}. {found['note']}")

    def _dry_run(self, chosen: Selection, options: dict[str, Any]) -> None:
        letters = chosen.replayable().order_by("pk")[: options["limit"]]
        counts = Counter(letters.values_list("consumer", "group__fingerprint"))
        if not counts:
            raise CommandError(nothing(chosen))
        if options["json"]:
            rows = [{"consumer": consumer, "group": group, "letters": n} for (consumer, group), n in counts.items()]
            self.stdout.write(json.dumps({"matched": counts.total(), "letters": rows}))
            return
        for (consumer, group), number in counts.most_common():
            self.stdout.write(f"{number:8}  {consumer}  group {group}")
        self.stdout.write(f"Would replay {counts.total()} dead letter{pluralize(counts.total())}.")

    def _try(self, chosen: Selection, options: dict[str, Any]) -> None:
        trials: list[DryRun] = []
        verdicts: Counter[str] = Counter()
        for letter in chosen.replayable().order_by("pk")[: options["limit"]].iterator(chunk_size=100):
            try:
                trial = dry_run(letter)
            except DryRunRefused as error:
                raise CommandError(str(error), returncode=2) from error
            verdicts[trial.verdict] += 1
            if options["json"]:
                trials.append(trial)
            else:
                self.stdout.write(f"dead letter {letter.pk}:" + "\n".join(trial_lines(trial)))
        if not verdicts:
            raise CommandError(nothing(chosen))
        if options["json"]:
            self.stdout.write(json.dumps({"verdicts": verdicts, "trials": [trial.as_json() for trial in trials]}))
        else:
            self.stdout.write(", ".join(f"{number} {verdict}" for verdict, number in verdicts.items()))
        if verdicts["fails"]:
            sys.exit(1)


def nothing(chosen: Selection) -> str:
    """Why there is nothing to send."""
    left_out = chosen.unsettled().count() - chosen.replayable().count()
    if left_out:
        return f"{left_out} dead letters match, and their consumers have side effects: name one with --consumer."
    return "No dead letter that waits matches."
