"""What the benchmarks need of RabbitMQ: full queues, empty queues, and how full they are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from amqp import NotFound
from django.conf import settings

from eventbus.broker import topology
from eventbus.broker.connection import connect
from eventbus.broker.publisher import ConfirmingPublisher, Outgoing
from eventbus.relay.relay import BATCH


@contextmanager
def channel() -> Iterator[Any]:
    with connect(settings.EVENTBUS_BROKER_URL) as broker, broker.channel() as opened:
        yield opened


def declare() -> None:
    """Everything that the declared consumers need."""
    with connect(settings.EVENTBUS_BROKER_URL) as broker:
        topology.declare(broker)


def ready(queue: str) -> int:
    """How many messages wait."""
    with channel() as opened:
        count: int = opened.queue_declare(queue, passive=True).message_count
    return count


def consumers(queue: str) -> int:
    """How many workers consume it; none if there is no such queue."""
    try:
        with channel() as opened:
            count: int = opened.queue_declare(queue, passive=True).consumer_count
    except NotFound:
        return 0
    return count


def purge(*queues: str) -> None:
    with channel() as opened:
        for queue in queues:
            opened.queue_purge(queue)


def send(messages: Sequence[Outgoing]) -> None:
    """Publish as the relay does, window by window, all confirmed."""
    publisher = ConfirmingPublisher(settings.EVENTBUS_BROKER_URL)
    for start in range(0, len(messages), BATCH):
        window = messages[start : start + BATCH]
        if len(publisher.send(window)) < len(window):
            raise RuntimeError("The broker refused messages of the benchmark: look at its log.")
    publisher.close()
