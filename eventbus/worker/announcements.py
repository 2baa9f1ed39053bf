"""What a worker says of itself (Celery's events, for Flower, and its answers to remote control) waits for nobody.

A broker in alarm reads nothing from a connection that publishes, and one that is silent answers nothing. Celery's own
code publishes from the loop that consumes, which then stands still; and consuming may be what ends the alarm. So it all
goes through a thread and a connection of its own. What can't go out soon is of no interest later and is dropped.
"""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import structlog
from celery.events.dispatcher import EventDispatcher
from celery.worker.consumer import control, events, heart, tasks
from celery.worker.state import reserved_requests
from kombu import Exchange, Producer

from eventbus.broker.connection import BROKER_ERRORS, connect

log = structlog.get_logger(__name__)

#: Messages that wait at most; one may be two dozen of Celery's events. The oldest give way.
LIMIT = 500
#: Seconds between two looks at the connection, and between two attempts to make one.
PAUSE = 2.0
#: Seconds for which Celery's events of tasks wait for others, to go as one message: Flower shows them as quickly as
#: anybody can look.
TOGETHER = 0.25
#: Seconds for the last words.
LAST_WORDS = 2.0


@dataclass(frozen=True, slots=True)
class Announcement:
    exchange: Exchange
    routing_key: str
    body: Any
    #: kombu's: `headers`, `serializer`, `delivery_mode`.
    properties: dict[str, Any]

    def go(self, producer: Producer) -> None:
        producer.publish(
            self.body,
            exchange=self.exchange.name,
            routing_key=self.routing_key,
            declare=[self.exchange],
            **self.properties,
        )


class Announcer(threading.Thread):
    """Publishes what it is told, as soon as it can."""

    def __init__(self, broker_url: str) -> None:
        super().__init__(name="announcements", daemon=True)
        self.broker_url = broker_url
        self._waiting: deque[Announcement] = deque(maxlen=LIMIT)
        self._wake = threading.Event()
        self._ending = False

    def say(self, announcement: Announcement) -> None:
        """Never waits and never fails."""
        self._waiting.append(announcement)
        self._wake.set()

    def end(self) -> None:
        """Say what waits, if that takes no time, and no more."""
        self._ending = True
        self._wake.set()
        self.join(LAST_WORDS)

    def run(self) -> None:
        pause = threading.Event()
        while not self._ending:
            try:
                self._publish()
            except BROKER_ERRORS as error:
                log.warning("announcements.interrupted", error=f"{type(error).__name__}: {error}")
                pause.wait(PAUSE)

    def _publish(self) -> None:
        connection = connect(self.broker_url)
        try:
            producer = Producer(connection.channel(), auto_declare=False)
            while self._waiting or not self._ending:
                self._wake.wait(PAUSE)
                self._wake.clear()
                while self._waiting:
                    self._waiting.popleft().go(producer)
                try:
                    connection.drain_events(timeout=0)
                except TimeoutError:
                    pass
                connection.heartbeat_check()
        finally:
            # A connection that is blocked would not answer a goodbye.
            connection.collect()


class Dispatcher(EventDispatcher):  # type: ignore[misc]  # Celery has no types
    """Celery's, but the announcer publishes, and what tasks say goes together."""

    def __init__(self, announcer: Announcer, timer: Any, **options: Any) -> None:
        self.announcer, self.timer, self._is_due = announcer, timer, False
        super().__init__(buffer_group=["task"], on_send_buffered=self._flush_soon, **options)

    def _flush_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self.timer.call_after(TOGETHER, self._flush)

    def _flush(self) -> None:
        self._is_due = False
        self.flush()

    def _publish(self, event: Any, producer: Any, routing_key: str, **_: Any) -> None:
        properties = {"headers": self.headers, "serializer": self.serializer, "delivery_mode": self.delivery_mode}
        self.announcer.say(Announcement(self.exchange, routing_key, event, properties))


class Events(events.Events):  # type: ignore[misc]
    """Celery's step, without a connection of the loop's own."""

    def start(self, c: Any) -> None:
        if not c.announcer.is_alive():
            c.announcer.start()
        previous = self._close(c)
        c.event_dispatcher = Dispatcher(
            c.announcer, c.timer, app=c.app, hostname=c.hostname, enabled=self.send_events, groups=self.groups
        )
        if previous:
            # What runs on from before the connection was lost.
            for request in tuple(reserved_requests):
                request.eventer = c.event_dispatcher

    def _close(self, c: Any) -> Any:
        if c.event_dispatcher:
            c.event_dispatcher.flush()
        return super()._close(c)

    def shutdown(self, c: Any) -> None:
        super().shutdown(c)
        c.announcer.end()


class Tasks(tasks.Tasks):  # type: ignore[misc]
    """Celery's step. It comes after Mingle there, which publishes and waits for answers."""

    requires = (Events,)


class Heart(heart.Heart):  # type: ignore[misc]
    """Celery's step."""

    requires = (Events,)


class Control(control.Control):  # type: ignore[misc]
    """Celery's step, but the announcer sends the answers."""

    requires = (Tasks,)

    def __init__(self, c: Any, **options: Any) -> None:
        super().__init__(c, **options)
        mailbox = self.box.node.mailbox

        def reply(data: Any, exchange: str, routing_key: str, ticket: str, **_: Any) -> None:
            answer_exchange = Exchange(exchange, type="direct", delivery_mode="transient", durable=False)
            headers = {"ticket": ticket, "clock": mailbox.clock.forward()}
            properties = {"headers": headers, "serializer": mailbox.serializer}
            c.announcer.say(Announcement(answer_exchange, routing_key, data, properties))

        self.box.node.reply = reply


#: Celery's steps, as far as a worker of the bus needs them. Mingle and Gossip publish over the connection that
#: consumes. DelayedDelivery would bind `#.`-patterns to our exchange for every quorum queue, and the bindings persist.
STEPS = (
    "celery.worker.consumer.connection:Connection",
    Events,
    Heart,
    Tasks,
    Control,
    "celery.worker.consumer.consumer:Evloop",
)
