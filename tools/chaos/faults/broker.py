"""Queues that are full or gone, and a broker that is short of something."""

from collections.abc import Iterator
from contextlib import contextmanager

from amqp import NotFound

from eventbus.broker.connection import connect
from tools.chaos.kinds import Fault, NothingToHit, Scene, kind
from tools.harness.broker_trouble import disk_alarm, length_limit, memory_alarm, persistently
from tools.harness.servers import BROKER

EXCHANGE = "orders"
LEFT_OVER = "chaos.left_over"
#: Of what a real queue has room for while it is full: how many messages.
ROOM = 1


@kind("left-over-queue", {"order.created.v2": 1, "order.confirmed.v1": 1}, lasts=(10, 30))
@contextmanager
def left_over(scene: Scene, fault: Fault) -> Iterator[None]:
    """Nobody reads it, and soon it refuses what everybody else has room for."""
    name, url = f"{LEFT_OVER}.{fault.target}", scene.stage.lab.broker_url
    with connect(url) as broker, broker.channel() as channel:
        channel.exchange_declare(EXCHANGE, "topic", passive=True)
        arguments = {"x-queue-type": "quorum", "x-max-length": 3, "x-overflow": "reject-publish"}
        channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
        channel.queue_bind(name, EXCHANGE, fault.target)
    yield

    def delete() -> None:
        with connect(url) as broker, broker.channel() as channel:
            channel.queue_delete(name)

    persistently(delete, f"{name} to be deleted")


@kind("full-queue", dict.fromkeys(("inventory.reserve_stock", "orders.confirm", "chaos.tally"), 1), lasts=(10, 30))
@contextmanager
def no_room(scene: Scene, fault: Fault) -> Iterator[None]:
    """A policy that limits a consumer's queue to next to nothing."""
    _must_be_there(scene, fault.target)
    lab = scene.stage.lab
    with length_limit(lab.broker, lab.name, fault.target, ROOM):
        yield


@kind("delete-queue", dict.fromkeys(("loyalty.count_points", "fraud.flag_orders", "chaos.tally"), 1))
@contextmanager
def delete(scene: Scene, fault: Fault) -> Iterator[None]:
    """The queue of a small consumer, with all that is in it. Somebody of the product has to miss it."""
    _must_be_there(scene, fault.target)
    with connect(scene.stage.lab.broker_url) as broker, broker.channel() as channel:
        channel.queue_delete(fault.target)
    yield


@kind("alarm", {BROKER: 2}, lasts=(15, 30), takes_away=True)
@contextmanager
def alarm(scene: Scene, fault: Fault) -> Iterator[None]:
    """It reads from no publisher."""
    with memory_alarm() if fault.pick < 0.5 else disk_alarm():
        yield


def _must_be_there(scene: Scene, queue: str) -> None:
    try:
        scene.stage.queues(queue)
    except NotFound:
        raise NothingToHit from None
