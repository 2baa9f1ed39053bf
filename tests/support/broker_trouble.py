"""A broker that is short of something: of memory, as it sees it, or of room in a queue."""

from collections.abc import Iterator
from contextlib import contextmanager

from tools.harness.broker import Management
from tools.harness.servers import rabbitmqctl

NORMAL = "0.4"


@contextmanager
def memory_alarm() -> Iterator[None]:
    """Inside, the broker takes nothing from publishers: it stops to read from them, without a word."""
    rabbitmqctl("set_vm_memory_high_watermark", "0.00001")
    try:
        yield
    finally:
        rabbitmqctl("set_vm_memory_high_watermark", NORMAL)


@contextmanager
def length_limit(broker: Management, vhost: str, queue: str, messages: int) -> Iterator[None]:
    """Inside, the queue takes about this many messages and refuses the rest."""
    path = f"policies/{vhost}/{queue}-is-short"
    policy = {"pattern": f"^{queue}$", "definition": {"max-length": messages}, "priority": 10, "apply-to": "queues"}
    broker.ask("PUT", path, policy)
    try:
        yield
    finally:
        broker.ask("DELETE", path)
