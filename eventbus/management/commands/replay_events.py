import json
import signal
import sys
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from rich.console import Console
from rich.table import Table

from eventbus.conf import bus_settings
from eventbus.leases import RunRefused
from eventbus.management.base import BusCommand
from eventbus.management.options import actor, moment, rate
from eventbus.management.progress import NOTE, progress_bar
from eventbus.replays import runs
from eventbus.replays.driver import ArchiveReplayDriver
from eventbus.replays.models import ArchiveReplay, RunState
from eventbus.replays.runs import Plan
from eventbus.replays.selection import Selection, SelectionError, SideEffectsUnconfirmed

LISTED = 50


class Command(BusCommand):
    help = (
        "Sends archived events to one consumer that has not handled them. What it has handled is left out, and so are "
        "its dead letters. Live events go first: no more than a few hundred of the replay wait in the queue at once. "
        "The set is frozen at the start; Ctrl-C pauses, --resume goes on, also after a kill. Exit 0 if everything was "
        "sent; 1 if it was paused or ended before, or nothing is to be sent; 2 if a server is away or the arguments "
        "make no sense."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--to", metavar="CONSUMER", help="send to this consumer")
        for verb in ("resume", "pause", "cancel"):
            what.add_argument(f"--{verb}", type=UUID, metavar="REPLAY", help=f"{verb} this replay")
        what.add_argument("--list", action="store_true", help="show the latest replays and how far they are")
        filters = parser.add_argument_group("with --to: which events (all that are given must hold)")
        filters.add_argument("--type", nargs="+", default=[], metavar="TYPE", help="of these types: order.created …")
        when = "a time such as 2025-03-01T12:00 (UTC), or how long ago: 90m, 2h, 3d"
        filters.add_argument("--since", type=moment, metavar="TIME", help=f"published since then: {when}")
        filters.add_argument("--until", type=moment, metavar="TIME", help="published before then")
        filters.add_argument("--aggregate", default="", metavar="ID", help="of this order, product or other aggregate")
        filters.add_argument("--correlation", default="", metavar="ID", help="of this correlation id")
        parser.add_argument("--rate", type=rate, metavar="N", help="at most N events per second")
        parser.add_argument(
            "--dry-run", action="store_true", help="only say how many events of each type would be sent"
        )
        parser.add_argument("--detach", action="store_true", help="start it, and leave it to worker_dead_letters")
        parser.add_argument(
            "--side-effects", default="", metavar="CONSUMER", help="yes, let this consumer act outside the database"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["list"]:
            return self._list(options["json"])
        try:
            replay_id = self._start(options) if options["to"] else self._known_replay(options)
        except SideEffectsUnconfirmed as error:
            raise CommandError(f"{error} Add --side-effects {options['to']}.", returncode=2) from error
        except (RunRefused, SelectionError) as error:
            raise CommandError(str(error), returncode=2) from error
        if replay_id is None:
            return None
        if not (options["pause"] or options["cancel"] or options["detach"]):
            self._drive(replay_id, quiet=options["json"])
        replay = ArchiveReplay.objects.get(pk=replay_id)
        self._report(replay, options["json"])
        asked_for = options["pause"] or options["cancel"] or options["detach"]
        if replay.state != RunState.DONE and not asked_for:
            sys.exit(1)
        return None

    def _start(self, options: dict[str, Any]) -> UUID | None:
        """Start what the arguments ask for; None after a dry run. Raises SelectionError."""
        consumer = runs.consumer_named(options["to"], side_effects=options["side_effects"])
        selection = Selection(
            types=options["type"],
            since=options["since"],
            until=options["until"],
            aggregate_id=options["aggregate"],
            correlation_id=options["correlation"],
        )
        plan = runs.plan_replay(consumer, selection)
        if options["dry_run"]:
            self._dry_run(plan, options["json"])
            return None
        replay = runs.start_replay(plan, by=actor(), rate=options["rate"])
        if replay is None:
            raise CommandError(plan.why_nothing())
        self.stderr.write(f"Replay {replay.pk}: {replay.total} events to {replay.consumer}.")
        return replay.pk

    def _known_replay(self, options: dict[str, Any]) -> UUID:
        """The replay that the arguments name, paused, cancelled or running again as they say. Raises RunRefused."""
        if replay_id := options["pause"]:
            runs.pause_replay(replay_id, by=actor())
        elif replay_id := options["cancel"]:
            runs.cancel_replay(replay_id, by=actor())
        else:
            replay_id = options["resume"]
            # One that runs, and whose driver may have died, only needs a driver.
            if not ArchiveReplay.objects.filter(pk=replay_id, state=RunState.RUNNING).exists():
                runs.resume_replay(replay_id, by=actor())
        return UUID(str(replay_id))

    def _drive(self, replay_id: UUID, *, quiet: bool) -> None:
        """Drive the replay until it ends. Ctrl-C pauses it."""
        driver = ArchiveReplayDriver(bus_settings.BROKER_URL)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: driver.stop())
        with progress_bar(NOTE, quiet=quiet) as bar:
            task = bar.add_task("replaying", total=ArchiveReplay.objects.get(pk=replay_id).total, note="")

            def show() -> bool:
                replay = ArchiveReplay.objects.get(pk=replay_id)
                note = replay.note or f"{bar.tasks[0].speed or 0:,.0f} events/s"
                bar.update(task, completed=replay.sent, note=note)
                return replay.state == RunState.RUNNING

            driver.run_one(replay_id, show)
        if driver.stopping.is_set() and ArchiveReplay.objects.filter(pk=replay_id, state=RunState.RUNNING).exists():
            runs.pause_replay(replay_id, by=actor())
            self.stderr.write(f"Paused. Go on with: replay_events --resume {replay_id}")

    def _report(self, replay: ArchiveReplay, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(runs.as_json(replay)))
            return
        self.stdout.write(
            f"Replay {replay.pk} is {replay.state}: {replay.sent} of {replay.total} events sent to {replay.consumer}. "
            f"{replay.note}".rstrip()
        )

    def _dry_run(self, plan: Plan, as_json: bool) -> None:
        counts = plan.counts
        if as_json:
            totals = {name: counts[name] for name in ("handled", "dead", "outbox", "missing")}
            self.stdout.write(
                json.dumps({"matched": counts.total(), **totals, "wouldSend": plan.total, "byType": plan.by_type})
            )
            return
        if not plan.total:
            self.stdout.write(plan.why_nothing())
            return
        table = Table("event type", "matched", "handled", "dead", "outbox", "would be sent")
        for kind, found in plan.by_type.items():
            sent = found.get("missing", 0) + found.get("outbox", 0)
            row = [sum(found.values()), found.get("handled", 0), found.get("dead", 0), found.get("outbox", 0), sent]
            table.add_row(kind, *map(str, row))
        table.columns[0].overflow = "fold"
        Console(width=None if sys.stdout.isatty() else 200).print(table)
        self.stdout.write(f"Would send {plan.total} events to {plan.consumer.name}.")
        if counts["dead"]:
            self.stdout.write(f"Its dead letters are sent by `replay_dead_letters --consumer {plan.consumer.name}`.")
        if counts["outbox"]:
            self.stdout.write("What is in the outbox the relay sends as well. It has its effect once all the same.")

    def _list(self, as_json: bool) -> None:
        replays = ArchiveReplay.objects.all()[:LISTED]
        if as_json:
            self.stdout.write(json.dumps({"replays": [runs.as_json(replay) for replay in replays]}))
            return
        table = Table("replay", "to", "state", "sent")
        # Ids are there to be copied.
        table.columns[0].no_wrap, table.columns[1].overflow = True, "fold"
        for replay in replays:
            lines = [replay.consumer, f"{replay.created_at:%Y-%m-%d %H:%M} by {replay.created_by}", replay.note]
            sent = f"{replay.sent} of {replay.total}"
            table.add_row(str(replay.pk), "\n".join(filter(None, lines)), replay.state, sent)
        Console(width=None if sys.stdout.isatty() else 200).print(table)
