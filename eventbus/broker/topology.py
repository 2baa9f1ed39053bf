"""Exchanges, queues and bindings, all derived from the consumer declarations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from amqp import NotFound
from kombu import Connection

from eventbus.conf import bus_settings
from eventbus.declaration import CONSUMERS, Consumer

EVENTS = bus_settings.EXCHANGE
DEAD = f"{EVENTS}.dead"
UNROUTED = f"{EVENTS}.unrouted"
#: Celery's own periodic tasks, such as making partitions, go through this queue.
UPKEEP = "eventbus.upkeep"

#: A delivery that came back this often without being settled probably kills its worker: it is dead-lettered unread.
#: A worker's death counts for all that it had prefetched, so the limit leaves room for innocents.
REDELIVERY_LIMIT = 10
#: Behind that, the broker's own limit: for what brings down even the process that would dead-letter it.
DELIVERY_LIMIT = 20


@dataclass(frozen=True)
class Queue:
    name: str
    arguments: dict[str, Any]
    exchange: str = ""
    routing_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exchange:
    name: str
    type: str
    arguments: dict[str, Any] = field(default_factory=dict)


def consumer_queue(consumer: Consumer) -> Queue:
    """The consumer's own queue. What operators tune (length, age) is a broker policy: arguments can't change later."""
    return Queue(consumer.name, _with_dead_letters(consumer.name), EVENTS, consumer.routing_keys)


def upkeep_queue() -> Queue:
    """Where beat's tasks wait. Anybody may publish to it, so what is no task of ours is kept as everywhere."""
    return Queue(UPKEEP, _with_dead_letters(UPKEEP))


def _with_dead_letters(name: str) -> dict[str, Any]:
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-routing-key": name,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def dead_queue(name: str) -> Queue:
    """Where the dead letters of this queue wait. RabbitMQ 4 would drop one after 20 reads; hence the high limit."""
    return Queue(f"{name}.dead", {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}, DEAD, (name,))


def exchanges() -> list[Exchange]:
    return [
        Exchange(UNROUTED, "fanout"),
        Exchange(EVENTS, "topic", {"alternate-exchange": UNROUTED}),
        Exchange(DEAD, "direct"),
    ]


def queues() -> Iterator[Queue]:
    # Nobody listens to these events: kept a day for people to see, then gone. The archive has them all.
    # Quorum like all others: a classic queue can't be declared while its home node is down, and no relay would publish.
    arguments = {"x-queue-type": "quorum", "x-message-ttl": 86_400_000, "x-max-length": 10_000}
    yield Queue(UNROUTED, arguments, UNROUTED, ("",))
    yield dead_queue(UPKEEP)
    yield upkeep_queue()
    for consumer in CONSUMERS.values():
        yield dead_queue(consumer.name)
        yield consumer_queue(consumer)


def missing(connection: Connection) -> list[Queue]:
    """The queues that are not there."""
    found = []
    channel = connection.channel()
    for queue in queues():
        try:
            channel.queue_declare(queue.name, passive=True)
        except NotFound:
            found.append(queue)
            channel = connection.channel()  # such an answer ends the channel
    channel.close()
    return found


def declare(connection: Connection, only: Sequence[Queue] | None = None) -> None:
    """Declare everything that the consumers need, of the queues only those given; the others are there, and bound.

    Idempotent; a dead-letter queue comes before the queue it serves. Raises amqp.PreconditionFailed where a queue or
    exchange exists with other arguments, amqp.NotFound where a queue that should be there is not.
    """
    with connection.channel() as channel:
        for exchange in exchanges():
            channel.exchange_declare(
                exchange.name, exchange.type, durable=True, auto_delete=False, arguments=exchange.arguments
            )
        for queue in queues():
            if only is None or queue in only:
                channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=queue.arguments)
            for key in queue.routing_keys:
                channel.queue_bind(queue.name, queue.exchange, key)
