"""A broker that is short of something: of memory or disk, as it sees it, or of room in a queue."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

import httpx

from eventbus.broker.connection import BROKER_ERRORS
from script._lib.waiting import wait_until
from tools.harness.broker import Management
from tools.harness.servers import rabbitmqctl

#: What a broker answers with that is away for a moment.
TROUBLE: tuple[type[Exception], ...] = (httpx.HTTPError, subprocess.SubprocessError, *BROKER_ERRORS)


@contextmanager
def memory_alarm() -> Iterator[None]:
    """Inside, the broker takes nothing from publishers: it stops to read from them, without a word."""
    rabbitmqctl("set_vm_memory_high_watermark", "0.00001")
    try:
        yield
    finally:
        persistently(lambda: rabbitmqctl("set_vm_memory_high_watermark", "0.4"), "the broker to have memory again")


@contextmanager
def disk_alarm() -> Iterator[None]:
    """The same, for want of disk."""
    # RabbitMQ 3.10 knows no larger unit.
    rabbitmqctl("set_disk_free_limit", "1000000GB")
    try:
        yield
    finally:
        persistently(lambda: rabbitmqctl("set_disk_free_limit", "50MB"), "the broker to have disk again")


@contextmanager
def length_limit(broker: Management, vhost: str, queue: str, messages: int) -> Iterator[None]:
    """Inside, the queue takes about this many messages and refuses the rest."""
    path = f"policies/{vhost}/{queue}-is-short"
    policy = {"pattern": f"^{queue}$", "definition": {"max-length": messages}, "priority": 10, "apply-to": "queues"}
    broker.ask("PUT", path, policy)

    def remove() -> None:
        try:
            broker.ask("DELETE", path)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != HTTPStatus.NOT_FOUND:  # it is gone
                raise

    try:
        yield
    finally:
        persistently(remove, f"the limit of {queue} to be lifted")


def persistently(act: Callable[[], object], what: str, seconds: float = 90) -> None:
    """Do it as soon as the broker lets us. Raises TimeoutError."""

    def is_done() -> bool:
        try:
            act()
        except TROUBLE:
            return False
        return True

    wait_until(is_done, seconds, what)
