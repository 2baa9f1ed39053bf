from typing import Any

from django.core.management.base import BaseCommand, CommandError

from eventbus.broker.connection import declaring_url
from eventbus.conf import bus_settings
from eventbus.db.pooler import refuse_pooler
from eventbus.db.sessions import name_sessions
from eventbus.dead_letters.ingest import Ingester
from eventbus.dead_letters.replay_driver import DeadLetterReplayDriver
from eventbus.heartbeats import beating
from eventbus.heartbeats.processes import worker_kind
from eventbus.management.ending import end_when_told
from eventbus.management.supervisor import Part, Supervisor
from eventbus.monitoring.watcher import Watcher
from eventbus.replays.driver import ArchiveReplayDriver
from eventbus.subscriptions.lost_queues import QueueKeeper


class Command(BaseCommand):
    help = (
        "Does what the bus does in the background, beside relay and workers (the process worker_dead_letters): stores "
        "what arrives in the dead-letter queues; drives the replays of dead letters and the replays of the archive "
        "that were started in admin or with --detach, or whose driver died; drives the backfills of new "
        'consumers that declare start="beginning"; and declares again what was deleted of queues, and sends what was '
        "in them again. Runs until it is stopped by SIGTERM or Ctrl-C. Run as many as you like: they share the work. "
        "Evaluates the alarms too, in turn with the relay. Exit 1 if one of the four ends by an error."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_pooler()
        name_sessions("dead letters")
        ingester = Ingester(bus_settings.BROKER_URL)
        dead_letters = DeadLetterReplayDriver(bus_settings.BROKER_URL)
        # A backfill is an archive replay that nobody had to ask for.
        archive = ArchiveReplayDriver(bus_settings.BROKER_URL)
        queues = QueueKeeper(declaring_url())
        supervisor = Supervisor(
            Part("storing dead letters", ingester.run, ingester.stop),
            Part("replaying dead letters", dead_letters.run_all, dead_letters.stop),
            Part("replaying the archive and backfilling", archive.run_all, archive.stop),
            Part("keeping the queues", queues.run, queues.stop),
        )
        end_when_told(supervisor.stop)
        loops = ("ingester", DeadLetterReplayDriver.table, ArchiveReplayDriver.table)
        beating.begin(worker_kind("dead_letters"), *loops)
        Watcher().start()
        if crashed := supervisor.run():
            raise CommandError(f"{' and '.join(crashed).capitalize()} ended by an error; see above.")
