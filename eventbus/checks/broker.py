"""What RabbitMQ gets wrong by default, or a change of the declarations would. Needs no server."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.checks import CheckMessage, Error, register

from eventbus.broker import topology
from eventbus.broker.topology import REDELIVERY_LIMIT, Exchange, Queue
from eventbus.checks.tags import BUS
from eventbus.conf import bus_settings
from eventbus.declaration import CONSUMERS, Consumer
from eventbus.worker.circuit_breaker import LONGEST_PAUSE, PUT_BACK_AFTER
from eventbus.worker.lanes import KEEP_LATER


@register(BUS)
def queues_have_a_delivery_limit(**_: Any) -> list[CheckMessage]:
    """RabbitMQ 3 has none by default: an event that kills its worker would go round for ever."""
    found: list[CheckMessage] = []
    for queue in _consumer_queues():
        limit = queue.arguments.get("x-delivery-limit")
        if not isinstance(limit, int) or limit <= REDELIVERY_LIMIT:
            found.append(
                Error(
                    f"The queue {queue.name} has the delivery limit {limit}: an event that kills its worker comes back "
                    "for ever, or is dead-lettered before the bus can say why.",
                    hint=f"Set x-delivery-limit above {REDELIVERY_LIMIT} in eventbus/broker/topology.py.",
                    id="eventbus.E006",
                )
            )
    return found


QUEUE_MUST = {
    "x-queue-type": "quorum",
    "x-overflow": "reject-publish",
    "x-dead-letter-strategy": "at-least-once",
    "x-dead-letter-exchange": topology.DEAD,
}


@register(BUS)
def queues_push_back_and_drop_nothing(**_: Any) -> list[CheckMessage]:
    """By default a full queue drops its oldest message, and dead-lettering loses what finds no queue."""
    return [
        Error(
            f"The queue {queue.name} has {name}={queue.arguments.get(name)!r}, so it can lose events.",
            hint=f"Set {name} to {wanted!r} in eventbus/broker/topology.py.",
            id="eventbus.E007",
        )
        for queue in _consumer_queues()
        for name, wanted in QUEUE_MUST.items()
        if queue.arguments.get(name) != wanted
    ]


def longest_hold(consumer: Consumer) -> float:
    """Seconds for which a worker may keep a delivery: behind another run, in its own, while nothing can be noted of
    it, and as long again behind a circuit breaker that opens at the end of that."""
    run = consumer.killed_after * (consumer.batch if consumer.side_effects else 1)
    return 2 * (PUT_BACK_AFTER + LONGEST_PAUSE + KEEP_LATER) + 2 * run


@register(BUS)
def the_broker_waits_long_enough(**_: Any) -> list[CheckMessage]:
    """RabbitMQ takes a delivery back that is not acknowledged in time, and closes the channel."""
    return [
        too_impatient(consumer, bus_settings.BROKER_CONSUMER_TIMEOUT, "rabbitmq.conf, and BROKER_CONSUMER_TIMEOUT")
        for consumer in CONSUMERS.values()
        if longest_hold(consumer) >= bus_settings.BROKER_CONSUMER_TIMEOUT
    ]


def too_impatient(consumer: Consumer, seconds: float, where: str) -> CheckMessage:
    """The broker takes this consumer's deliveries back while its worker still has them."""
    return Error(
        f"{consumer.name} may keep a delivery for {longest_hold(consumer):g} s, an outage and the run before it "
        f"included, and the broker takes it back after {seconds:g} s.",
        hint=f"Lower its time_limit, or raise consumer_timeout (milliseconds): {where}.",
        id="eventbus.E008",
    )


@register(BUS)
def dead_letters_go_in_no_circle(**_: Any) -> list[CheckMessage]:
    """RabbitMQ drops, without a word, a message that dead-letters its way back to where it was."""
    queues, exchanges = list(topology.queues()), {exchange.name: exchange for exchange in topology.exchanges()}
    circles = {frozenset(circle): circle for queue in queues if (circle := _circle(queue, queues, exchanges))}
    return [
        Error(
            f"Dead letters go in a circle: {' -> '.join([*circle, circle[0]])}.",
            hint="Give one of these queues no dead-letter exchange, or another one, in eventbus/broker/topology.py.",
            id="eventbus.E009",
        )
        for circle in circles.values()
    ]


def _circle(start: Queue, queues: list[Queue], exchanges: Mapping[str, Exchange]) -> list[str]:
    """The names on the way from a queue back to itself, if there is one."""
    paths, seen = [[start]], set()
    while paths:
        path = paths.pop()
        for target in _dead_letter_targets(path[-1], queues, exchanges):
            if target.name == start.name:
                return [queue.name for queue in path]
            if target.name not in seen:
                seen.add(target.name)
                paths.append([*path, target])
    return []


def _dead_letter_targets(queue: Queue, queues: list[Queue], exchanges: Mapping[str, Exchange]) -> Iterator[Queue]:
    name, key = queue.arguments.get("x-dead-letter-exchange"), queue.arguments.get("x-dead-letter-routing-key")
    if name is None:
        return
    for other in queues:
        if name == "":
            # Without a key of its own the message keeps the one it came with, which may be any consumer's name.
            if other.name == key or (key is None and other.name in CONSUMERS):
                yield other
        elif other.exchange == name:
            takes_all = key is None or (name in exchanges and exchanges[name].type == "fanout")
            if takes_all or key in other.routing_keys:
                yield other


def _consumer_queues() -> list[Queue]:
    return [topology.consumer_queue(consumer) for consumer in CONSUMERS.values()]
