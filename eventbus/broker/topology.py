"""Exchanges, queues and bindings, all derived from the consumer declarations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from amqp import NotFound
from kombu import Connection

from eventbus.conf import bus_settings
from eventbus.declaration import CONSUMERS, LADDER, Consumer

EVENTS = bus_settings.EXCHANGE
DEAD = f"{EVENTS}.dead"
UNROUTED = f"{EVENTS}.unrouted"
#: Celery's own periodic tasks, such as making partitions, go through this queue.
UPKEEP = "eventbus.upkeep"

#: A rung is three queues with neighbouring delays: what failed together comes back in three waves, not in one.
JITTER = (0.8, 1.0, 1.2)

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
    arguments = {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-routing-key": consumer.name,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    return Queue(consumer.name, arguments, EVENTS, consumer.routing_keys)


def dead_queue(consumer: Consumer) -> Queue:
    """Where the consumer's dead letters wait. RabbitMQ 4 would drop one after 20 reads; hence the high limit."""
    return Queue(consumer.dead_queue, {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}, DEAD, (consumer.name,))


def wait_exchange(seconds: int, jitter: float) -> str:
    """The name of a delay: what is published to it comes back to the queue named by the routing key."""
    return f"{EVENTS}.wait.{int(seconds * jitter * 1000)}ms"


def wait_queue(seconds: int, jitter: float) -> Queue:
    arguments = {
        "x-queue-type": "quorum",
        "x-message-ttl": int(seconds * jitter * 1000),
        "x-dead-letter-exchange": "",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    name = wait_exchange(seconds, jitter)
    return Queue(name, arguments, name, ("",))


def exchanges() -> list[Exchange]:
    return [
        Exchange(UNROUTED, "fanout"),
        Exchange(EVENTS, "topic", {"alternate-exchange": UNROUTED}),
        Exchange(DEAD, "direct"),
        *(Exchange(wait_exchange(seconds, jitter), "fanout") for seconds in LADDER for jitter in JITTER),
    ]


def queues() -> Iterator[Queue]:
    # Nobody listens to these events: kept a day for people to see, then gone. The archive has them all.
    # Quorum like all others: a classic queue can't be declared while its home node is down, and no relay would publish.
    arguments = {"x-queue-type": "quorum", "x-message-ttl": 86_400_000, "x-max-length": 10_000}
    yield Queue(UNROUTED, arguments, UNROUTED, ("",))
    yield Queue(UPKEEP, {"x-queue-type": "quorum"})
    yield from (wait_queue(seconds, jitter) for seconds in LADDER for jitter in JITTER)
    for consumer in CONSUMERS.values():
        yield dead_queue(consumer)
        yield consumer_queue(consumer)


def is_delay(queue: Queue) -> bool:
    """Whether retries wait in it, of whichever consumer."""
    return queue.exchange.startswith(f"{EVENTS}.wait.")


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
