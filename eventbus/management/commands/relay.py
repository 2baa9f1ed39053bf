import signal
from typing import Any

from django.core.management.base import BaseCommand

from eventbus.conf import bus_settings
from eventbus.db.sessions import RELAY, name_sessions
from eventbus.relay.relay import CLAIM_TIMEOUT, Relay


class Command(BaseCommand):
    help = (
        "Publishes recorded events from the outbox to RabbitMQ, until stopped by SIGTERM or Ctrl-C. "
        "Run as many as you like: they share the work. Survives the loss of the broker and of the database."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        name_sessions(RELAY, idle_in_transaction_session_timeout=f"{CLAIM_TIMEOUT}s")
        relay = Relay(bus_settings.BROKER_URL)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: relay.stop())
        relay.run()
