"""Relay, workers and replays in the test's own hands, over the real broker: it says who works, and when.

Processes come and go as they like; where a test needs to know what is handled at some moment, nothing moves by itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from django.db import connection
from django.test import override_settings

from eventbus.broker.connection import connect
from eventbus.declaration import CONSUMERS
from eventbus.relay.relay import Relay
from eventbus.replays.driver import ArchiveReplayDriver
from eventbus.replays.models import ArchiveReplay, RunState
from eventbus.subscriptions import lost_queues
from eventbus.worker import inbox
from eventbus.worker.delivery import Delivery
from eventbus.worker.processing import read
from notifications.connections import connections
from notifications.smtp import NotTaken
from tests.support.bus import LiveBus


class ByHand:
    """The whole pipeline on a bus's database and virtual host, without a process of its own."""

    def __init__(self, bus: LiveBus) -> None:
        self.bus, self.url = bus, bus.broker_url

    @contextmanager
    def at_work(self, *, smtp_port: int) -> Iterator[None]:
        """Inside, Django in this process works there, and mails go to this port."""
        address = urlsplit(self.bus.database_url)
        there = {
            "NAME": self.bus.name,
            "HOST": address.hostname,
            "PORT": address.port,
            "USER": address.username,
            "PASSWORD": address.password or "",
        }
        before = {name: connection.settings_dict[name] for name in there}
        broker = {"EVENTBUS_BROKER_URL": self.url, "EVENTBUS_DECLARING_BROKER_URL": self.url}
        connection.close()
        connection.settings_dict.update(there)
        try:
            with override_settings(EMAIL_HOST="127.0.0.1", EMAIL_PORT=smtp_port, **broker):
                yield
        finally:
            connections.close()
            connection.close()
            connection.settings_dict.update(before)

    def publish(self) -> None:
        """Be a relay until the outbox is empty."""
        relay = Relay(self.url)
        while relay.publish_batch():
            pass
        relay.publisher.close()

    def work(self, *groups: str) -> None:
        """Be the relay and the workers of these groups, or of all, until nothing is left to do for them."""
        self.publish()
        while self._consume(groups):
            self.publish()

    def work_everything_off(self) -> None:
        """Be all of them, and the drivers of replays, until nothing is left at all."""
        with connect(self.url) as broker:
            lost_queues.look(broker)
        self.work()
        driver = ArchiveReplayDriver(self.url)
        while ArchiveReplay.objects.filter(state=RunState.RUNNING).exists():
            for run_id in driver.free_runs():
                driver.step(run_id)
            self.work()
        driver.close()

    def _consume(self, groups: tuple[str, ...]) -> int:
        handled = 0
        with connect(self.url) as broker:
            channel = broker.channel()
            channel.auto_decode = False
            for consumer in CONSUMERS.values():
                if groups and consumer.group not in groups:
                    continue
                while (message := channel.basic_get(consumer.name)) is not None:
                    handled += 1
                    try:
                        inbox.process(consumer, [inbox.Arrival(read(consumer, Delivery(bytes(message.body))))])
                    except NotTaken:
                        # The mail server is slow to greet on a busy machine.
                        channel.basic_reject(message.delivery_tag, requeue=True)
                        break
                    channel.basic_ack(message.delivery_tag)
        return handled
