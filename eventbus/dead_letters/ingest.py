"""From the dead-letter queues into the table: acknowledged after the commit, so that nothing is lost in between."""

import threading
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any

import structlog
from django.db import DatabaseError, DataError, InterfaceError, connection

from eventbus.broker.connection import BROKER_ERRORS, connect, declaring_url
from eventbus.broker.topology import UPKEEP, dead_queue
from eventbus.dead_letters.message import DeadMessage, read_message
from eventbus.dead_letters.store import ingest
from eventbus.declaration import CONSUMERS
from eventbus.errors import Reason
from eventbus.heartbeats import beating
from eventbus.relay import lost_queues
from eventbus.waits.backoff import backoff

log = structlog.get_logger(__name__)

BATCH = 200
#: A batch ends here too: messages may be megabytes, and what is not read yet waits in the socket.
BATCH_BYTES = 8_000_000
#: Seconds for which a batch waits for more.
LINGER = 0.05
INTERRUPTIONS: tuple[type[Exception], ...] = (DatabaseError, InterfaceError, *BROKER_ERRORS)


class Ingester:
    """Stores what arrives in the consumers' dead-letter queues. Run as many as you like."""

    def __init__(self, broker_url: str) -> None:
        self.broker_url = broker_url
        self.stopping = threading.Event()
        self._waiting: list[tuple[int, DeadMessage]] = []

    def stop(self) -> None:
        """Finish the batch in hand, then return from run()."""
        self.stopping.set()

    def run(self) -> None:
        """Store dead letters until stopped. Survives the loss of the broker and of the database."""
        failures = 0
        while not self.stopping.is_set():
            beating.turned("ingester")
            try:
                with connect(declaring_url()) as broker:
                    lost_queues.declare(broker)
                with connect(self.broker_url) as broker:
                    channel = self._subscribe(broker)
                    while not self.stopping.is_set():
                        beating.turned("ingester")
                        self._gather(broker)
                        self._store(channel)
                        failures = 0
            except INTERRUPTIONS as error:
                failures += 1
                self._recover(error, failures)
        connection.close()

    def _subscribe(self, broker: Any) -> Any:
        """Consume every dead-letter queue. What an old connection held comes again."""
        self._waiting.clear()
        channel = broker.channel()
        # A message is kept byte by byte: its author may have been wrong about the encoding.
        channel.auto_decode = False
        channel.basic_qos(0, BATCH, False)
        for name in (*CONSUMERS, UPKEEP):
            channel.basic_consume(dead_queue(name).name, callback=partial(self._on_message, name))
        return channel

    def _on_message(self, consumer: str, message: Any) -> None:
        properties = dict(message.properties)
        headers = properties.pop("application_headers", None) or {}
        body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
        dead = read_message(consumer, body, headers, properties, now=datetime.now(UTC))
        self._waiting.append((message.delivery_tag, dead))

    def _gather(self, broker: Any) -> None:
        """Wait for a message, then a moment for more."""
        deadline = monotonic() + 1
        while (left := deadline - monotonic()) > 0 and not self._is_full():
            try:
                broker.drain_events(timeout=left)
            except TimeoutError:
                break
            if len(self._waiting) == 1:
                deadline = monotonic() + LINGER
        broker.heartbeat_check()

    def _is_full(self) -> bool:
        return len(self._waiting) >= BATCH or sum(len(message.body) for _, message in self._waiting) > BATCH_BYTES

    def _store(self, channel: Any) -> None:
        if not self._waiting:
            return
        messages = [message for _, message in self._waiting if not is_out_of_date(message)]
        try:
            new = ingest(messages) if messages else 0
        except DataError:
            new = sum(map(store_anyhow, messages))
        # All that came on this channel up to here is in the batch.
        channel.basic_ack(self._waiting[-1][0], multiple=True)
        out_of_date = len(self._waiting) - len(messages)
        self._waiting.clear()
        log.info("dead_letters.stored", letters=len(messages), new=new, out_of_date=out_of_date)

    def _recover(self, error: Exception, failures: int) -> None:
        delay = backoff(failures)
        log.warning("dead_letters.interrupted", error=f"{type(error).__name__}: {error}", retry_in_seconds=delay)
        connection.close()
        self.stopping.wait(delay)


def is_out_of_date(message: DeadMessage) -> bool:
    """Whether it is a periodic task that nobody took before the next one was sent: there is nothing to read in it, and
    nothing to replay."""
    return message.consumer == UPKEEP and message.reason == Reason.EXPIRED_IN_QUEUE


def store_anyhow(message: DeadMessage) -> int:
    """Store one message; if the database refuses something in it, without that: none may end the process."""
    try:
        return ingest([message])
    except DataError as error:
        log.error("dead_letter.stripped", consumer=message.consumer, error=str(error))
        return ingest([stripped(message, error)])


def stripped(message: DeadMessage, error: Exception) -> DeadMessage:
    """The message with its body, its ids and nothing else that anybody wrote."""
    return read_message(
        message.consumer,
        message.body,
        {
            "x-dead-reason": message.reason,
            "x-error-message": f"Its headers could not be stored: {type(error).__name__}",
        },
        {},
        now=datetime.now(UTC),
    )
