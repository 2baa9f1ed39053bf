"""Queues as a worker consumes them: each for itself, so that one that is missing stops no other."""

from functools import partial
from typing import Any

import kombu
import structlog
from amqp import NotFound
from kombu.transport import pyamqp

from eventbus.broker.topology import UPKEEP
from eventbus.declaration import Consumer
from eventbus.worker.lanes import slots

log = structlog.get_logger(__name__)


class PlainMessage(pyamqp.Message):
    """A message as it came. kombu would unpack it by a header that any publisher may set, in the worker's main process:
    the bus never packs, and a few bytes can unpack to all the memory there is."""

    def __init__(self, msg: Any, channel: Any = None, **kwargs: Any) -> None:
        (msg.properties.get("application_headers") or {}).pop("compression", None)
        super().__init__(msg, channel=channel, **kwargs)


class BusQueue(kombu.Queue):
    """A queue whose deliveries say where they come from (AMQP's don't), with a prefetch of its own.

    One that is not there, or is deleted while it is consumed, is `is_lost`: the others of its worker go on.
    """

    # kombu copies a queue, by these, when it binds it to a channel.
    attrs = (*kombu.Queue.attrs, ("prefetch", int))
    prefetch = 1
    is_lost = False

    def consume(self, consumer_tag: str = "", callback: Any = None, **kwargs: Any) -> Any:
        name = self.name
        self._consume_again = partial(self.consume, consumer_tag, callback, **kwargs)
        if not self._exists():
            self._lose()
            return None
        self.is_lost = False

        def stamped(message: Any) -> Any:
            message.delivery_info["queue"] = name
            return callback(message)

        self.channel.Message = PlainMessage
        # The body stays as it came. py-amqp would decode it by a property that any publisher may set, such as UTF-16.
        self.channel.auto_decode = False
        # RabbitMQ applies a channel's prefetch to the consumers that start after it.
        self.channel.basic_qos(0, self.prefetch, False)
        # Without an answer of ours to its deletion, the whole connection would begin anew.
        return super().consume(consumer_tag, stamped, on_cancel=self._lose, **kwargs)

    def look_again(self) -> None:
        """Consume a lost queue where it is back."""
        if self._exists():
            self._consume_again()
            log.info("queue.is_back", queue=self.name)

    def _exists(self) -> bool:
        # On a channel of its own, which ends where the queue is missing.
        channel = self.channel.connection.channel()
        try:
            channel.queue_declare(self.name, passive=True)
        except NotFound:
            return False
        channel.close()
        return True

    def _lose(self, _consumer_tag: str = "") -> None:
        self.is_lost = True
        log.error("queue.missing", queue=self.name)


def broker_queue(consumer: Consumer, consumers: int, processes: int) -> BusQueue:
    """The consumer's queue as the worker consumes it, with room for a full batch in every slot and one waiting."""
    return _queue(consumer.name, prefetch=(slots(consumer, consumers, processes) + 1) * consumer.batch)


def upkeep_queue() -> BusQueue:
    """The queue of the periodic tasks as the worker consumes it."""
    return _queue(UPKEEP, prefetch=1)


def _queue(name: str, *, prefetch: int) -> BusQueue:
    return BusQueue(
        name,
        exchange=kombu.Exchange(""),
        routing_key=name,
        no_declare=True,
        queue_arguments={"x-queue-type": "quorum"},
        prefetch=prefetch,
    )
