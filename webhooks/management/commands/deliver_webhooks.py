from typing import Any

from django.core.management.base import BaseCommand

from eventbus.processes import run_process
from webhooks.delivering import KIND, Deliverer


class Command(BaseCommand):
    help = (
        "Delivers to partners' webhooks what is due, and carries out recoveries, until stopped by SIGTERM or Ctrl-C. "
        "Run as many as you like: they share the work. What one had in hand when it died is sent again by another."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        deliverer = Deliverer()
        run_process(KIND, deliverer.run, deliverer.stop)
