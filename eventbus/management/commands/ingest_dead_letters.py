import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from eventbus.conf import bus_settings
from eventbus.dead_letters.ingest import Ingester
from eventbus.dead_letters.replay_driver import DeadLetterReplayDriver
from eventbus.leases import LeasedDriver
from eventbus.replays.driver import ArchiveReplayDriver


class Command(BaseCommand):
    help = (
        "Stores what arrives in the dead-letter queues, and drives the replays that were started in admin, with "
        "--detach or to fill a new consumer, and those whose driver died; until stopped by SIGTERM or Ctrl-C. Run as "
        "many as you like: they share the work."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        settings.DATABASES["default"]["OPTIONS"]["application_name"] = "dead letters"
        ingester = Ingester(bus_settings.BROKER_URL)
        drivers: list[LeasedDriver] = [
            DeadLetterReplayDriver(bus_settings.BROKER_URL),
            ArchiveReplayDriver(bus_settings.BROKER_URL),
        ]

        def drive(driver: LeasedDriver) -> None:
            try:
                driver.run_all()
            finally:
                # None lives without the others: whoever keeps the process starts them all again.
                ingester.stop()

        threads = [threading.Thread(target=drive, args=[each], name=f"drives {each.table}") for each in drivers]

        def stop(*_: Any) -> None:
            ingester.stop()
            for driver in drivers:
                driver.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        for thread in threads:
            thread.start()
        try:
            ingester.run()
        finally:
            # Nobody else has asked a driver to stop yet.
            crashed = [
                thread.name
                for thread, driver in zip(threads, drivers, strict=True)
                if not thread.is_alive() and not driver.stopping.is_set()
            ]
            stop()
            for thread in threads:
                thread.join()
        if crashed:
            raise CommandError(f"The thread that {' and '.join(crashed)} ended by an error; see above.")
