"""What comes from outside and is no good: poison, and clients that begin and never end."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from tools.chaos import poison
from tools.chaos.kinds import Fault, NothingToHit, Scene, kind
from tools.chaos.stage import WEB

#: None whose queue somebody deletes: poison is in no archive, so it would be gone.
CONSUMERS = ("inventory.reserve_stock", "orders.confirm", "notifications.queue_confirmation")
EVERYBODY = "whoever listens to orders"
HEAD = "POST /api/v1/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"


@kind("poison", {EVERYBODY: 1, **dict.fromkeys(CONSUMERS, 1), WEB: 1})
@contextmanager
def poisoned(scene: Scene, fault: Fault) -> Iterator[None]:
    """Messages that end as dead letters, and as nothing else; orders that are refused."""
    if fault.target == WEB:
        for body in poison.bad_orders():
            scene.shop.offer(body)
    else:
        _publish(scene, fault)
    yield


def _publish(scene: Scene, fault: Fault) -> None:
    lab, target = scene.stage.lab, fault.target
    scene.stage.queues(*CONSUMERS)  # raises where the consumers are not these
    make = poison.UNREADABLE[int(fault.pick * len(poison.UNREADABLE))]
    if target == "orders.confirm":
        make = poison.of_no_order
    exchange, key = ("orders", poison.CREATED) if target == EVERYBODY else ("", target)
    poison.publish(lab.broker_url, exchange, key, make, scene.poison)


@kind("stall", {WEB: 2}, lasts=(10, 20))
@contextmanager
def stalled(scene: Scene, fault: Fault) -> Iterator[None]:
    """50 to 200 connections: half of them stop within the head of a request, half within its body."""
    port = int(scene.stage.lab.env["PORT"])
    head = f"{HEAD}Authorization: Bearer {scene.shop.token}\r\n"
    with ExitStack() as held:
        reached = 0
        for number in range(50 + int(fault.pick * 150)):
            with suppress(OSError):
                client = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=2))
                client.sendall(head[:-10].encode() if number % 2 else f"{head}\r\n{{".encode())
                reached += 1
        if not reached:
            raise NothingToHit
        yield
