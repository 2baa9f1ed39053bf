from typing import Any

from django.core.management.base import BaseCommand

from eventbus.conf import bus_settings
from eventbus.db.pooler import refuse_pooler
from eventbus.db.sessions import name_sessions
from eventbus.heartbeats import beating
from eventbus.heartbeats.processes import RELAY
from eventbus.management.ending import end_when_told
from eventbus.monitoring.watcher import Watcher
from eventbus.relay.relay import Relay

#: Seconds after which PostgreSQL takes back what a relay has claimed and does nothing about: it may be stopped, or have
#: lost the network. Longer than it waits for confirms.
CLAIM_TIMEOUT = 25
#: Seconds after which PostgreSQL ends the session of a relay that asks nothing, and takes back the idle lock: a relay
#: that is well asks every second.
SILENCE_TIMEOUT = 30
#: Seconds that PostgreSQL may take for any answer to a relay.
ANSWER_WITHIN = 15


class Command(BaseCommand):
    help = (
        "Publishes recorded events from the outbox to RabbitMQ, until stopped by SIGTERM or Ctrl-C. "
        "Run as many as you like: they share the work. Survives the loss of the broker and of the database. "
        "Evaluates the alarms too, in turn with worker_dead_letters."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_pooler()
        name_sessions(
            RELAY,
            answer_within=ANSWER_WITHIN,
            idle_in_transaction_session_timeout=f"{CLAIM_TIMEOUT}s",
            idle_session_timeout=f"{SILENCE_TIMEOUT}s",
        )
        relay = Relay(bus_settings.BROKER_URL)
        end_when_told(relay.stop)
        beating.begin(RELAY, "relay")
        Watcher().start()
        relay.run()
