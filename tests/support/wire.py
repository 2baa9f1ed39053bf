"""A plain AMQP client, as any program could be: it publishes bytes and reads queues, and knows nothing of the bus."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import amqp
from kombu import Connection

from script._lib.waiting import wait_until


@dataclass(frozen=True)
class Letter:
    """A message as it lay in a queue."""

    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any]
    routing_key: str

    @property
    def envelope(self) -> dict[str, Any]:
        """The body as JSON."""
        envelope: dict[str, Any] = json.loads(self.body)
        return envelope


@dataclass
class Wire:
    """One vhost of the broker, over short connections."""

    url: str
    tapped: list[str] = field(default_factory=list)

    @contextmanager
    def channel(self) -> Iterator[amqp.Channel]:
        with Connection(self.url, connect_timeout=5) as connection:
            channel = connection.channel()
            # Bodies as they are, whatever their properties say of them.
            channel.auto_decode = False
            yield channel

    def publish(self, body: bytes | str, *, key: str, exchange: str = "orders", **properties: Any) -> None:
        """Send one message and wait until the broker has it."""
        headers = properties.pop("headers", {})
        with self.channel() as channel:
            channel.confirm_select()
            message = amqp.Message(body, application_headers=headers, **{"delivery_mode": 2, **properties})
            channel.basic_publish_confirm(message, exchange, key, mandatory=True)

    def publish_all(self, letters: list[Letter], *, exchange: str = "orders") -> None:
        """Send copies of messages that were read before, in this order."""
        with self.channel() as channel:
            channel.confirm_select()
            for letter in letters:
                message = amqp.Message(letter.body, application_headers=letter.headers, **letter.properties)
                channel.basic_publish_confirm(message, exchange, letter.routing_key)

    def ready(self, queue: str) -> int:
        """How many messages wait in a queue, not counting those in a consumer's hands."""
        with self.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)

    def take(self, queue: str, number: int) -> list[Letter]:
        """What is in a queue, once it is so many: what is noted as dead is on its way there. Raises TimeoutError."""
        wait_until(lambda: self.ready(queue) >= number, 30, f"{number} messages in {queue}")
        return self.take_all(queue)

    def take_all(self, queue: str) -> list[Letter]:
        """Read a queue until it is empty, and acknowledge what was read."""
        taken = []
        with self.channel() as channel:
            while (message := channel.basic_get(queue, no_ack=True)) is not None:
                properties = {k: v for k, v in message.properties.items() if k != "application_headers"}
                taken.append(
                    Letter(bytes_of(message.body), message.headers, properties, message.delivery_info["routing_key"])
                )
        return taken

    def tap(self, *keys: str, exchange: str = "orders", length: int = 1_000_000) -> str:
        """Bind a queue of our own to these routing keys and return its name: it gets a copy of what goes by, and
        refuses more than its length."""
        name = f"tap.{uuid4()}"
        arguments = {"x-max-length": length, "x-overflow": "reject-publish"}
        with self.channel() as channel:
            channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
            for key in keys:
                channel.queue_bind(name, exchange, key)
        self.tapped.append(name)
        return name

    def remove_taps(self) -> None:
        with self.channel() as channel:
            for name in self.tapped:
                channel.queue_delete(name)
        self.tapped.clear()


def bytes_of(body: str | bytes | memoryview) -> bytes:
    """py-amqp decodes a body whose content encoding says so."""
    return body.encode() if isinstance(body, str) else bytes(body)
