import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from eventbus.dead_letters.driver import Driver
from eventbus.dead_letters.ingester import Ingester


class Command(BaseCommand):
    help = (
        "Stores what arrives in the dead-letter queues, and drives the replays that were started in admin or whose own "
        "driver died; until stopped by SIGTERM or Ctrl-C. Run as many as you like: they share the work."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        settings.DATABASES["default"]["OPTIONS"]["application_name"] = "dead letters"
        ingester, driver = Ingester(settings.BROKER_URL), Driver(settings.BROKER_URL)

        def drive() -> None:
            try:
                driver.run_all()
            finally:
                # One doesn't live without the other: whoever keeps the process starts both again.
                ingester.stop()

        replays = threading.Thread(target=drive, name="replays")

        def stop(*_: Any) -> None:
            ingester.stop()
            driver.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        replays.start()
        try:
            ingester.run()
        finally:
            crashed = not replays.is_alive() and not driver.stopping.is_set()
            stop()
            replays.join()
        if crashed:
            raise CommandError("The replays' thread ended by an error; see above.")
