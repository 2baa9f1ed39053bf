import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from eventbus.dead_letters.driver import Driver
from eventbus.dead_letters.ingester import Ingester
from eventbus.event_replays.driver import EventReplayDriver
from eventbus.leased_runs import LeasedDriver


class Command(BaseCommand):
    help = (
        "Stores what arrives in the dead-letter queues, and drives the replays that were started in admin, with "
        "--detach or to fill a new consumer, and those whose driver died; until stopped by SIGTERM or Ctrl-C. Run as "
        "many as you like: they share the work."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        settings.DATABASES["default"]["OPTIONS"]["application_name"] = "dead letters"
        ingester = Ingester(settings.BROKER_URL)
        drivers: list[LeasedDriver] = [Driver(settings.BROKER_URL), EventReplayDriver(settings.BROKER_URL)]

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
