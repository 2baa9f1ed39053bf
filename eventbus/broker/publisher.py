"""Publishing with pipelined publisher confirms (https://www.rabbitmq.com/docs/confirms): a window of messages goes out,
then its confirms are collected. Waiting for each confirm costs a round trip and a disk sync per message."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from time import monotonic
from typing import Any

from amqp import Message, NotFound
from kombu import Connection

from eventbus.broker.connection import BROKER_ERRORS, connect
from eventbus.errors import EventbusError


class Unconfirmed(EventbusError):
    """The broker did not confirm in time. The messages may or may not have arrived: send them again."""


class Blocked(Unconfirmed):
    """The broker is short of memory or disk, and says that it takes nothing from those who publish."""


#: Seconds for which py-amqp listens at a time. Each heartbeat of the broker, which come every five, lets it begin anew:
#: a broker that lives and does not confirm would never be given up.
LISTEN = 0.2
#: Seconds for which a broker in alarm is not asked again by who does not wait for it.
BLOCKED_PAUSE = 5.0
#: Whatever keeps a message from being known to have arrived.
SEND_ERRORS: tuple[type[Exception], ...] = (Unconfirmed, *BROKER_ERRORS)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way to an exchange. Properties are AMQP's: `content_type`, `application_headers` and so on."""

    exchange: str
    routing_key: str
    body: bytes | str
    properties: dict[str, Any]


def address(outgoing: Outgoing) -> tuple[str | None, str, str]:
    """By what a returned message is known: one event may go to several queues."""
    return outgoing.properties.get("message_id"), outgoing.exchange, outgoing.routing_key


class ConfirmingPublisher:
    """A connection of its own that publishes persistent, mandatory messages and knows which of them arrived.

    Not thread-safe. After any error or refusal the connection is thrown away: a late confirm would be taken for another
    message's, RabbitMQ 3.10 nacks for ever on a channel that published during a leader election, and a broker in alarm
    does not answer when a channel says goodbye.
    """

    def __init__(self, url: str, *, confirm_timeout: float = 30.0, waits_in_alarm: bool = True) -> None:
        """`waits_in_alarm`: for the confirms of a broker in alarm, which may come yet; else `send` raises Blocked then,
        and at once for the next few seconds."""
        self.url = url
        self.confirm_timeout = confirm_timeout
        self.waits_in_alarm = waits_in_alarm
        self._blocked_until = 0.0
        self._connection: Connection | None = None
        self._channel: Any = None
        self._asking: Any = None
        self._published = 0
        self._pending: dict[int, int] = {}
        self._refused: set[int] = set()
        self._places: dict[tuple[str | None, str, str], list[int]] = {}

    def send(self, window: Sequence[Outgoing]) -> set[int]:
        """Publish a window and wait for its confirms. Returns the places in it of what arrived in its queues.

        The others were nacked (a queue is full) or returned (no queue takes them). Raises Unconfirmed or one of
        BROKER_ERRORS; then nothing is known of any of them.
        """
        if monotonic() < self._blocked_until:
            raise Blocked("The broker is in alarm.")
        try:
            channel = self._open_channel()
            self._places = {}
            for place, outgoing in enumerate(window):
                self._places.setdefault(address(outgoing), []).append(place)
                message = Message(outgoing.body, delivery_mode=2, **outgoing.properties)
                self._published += 1
                self._pending[self._published] = place
                channel.basic_publish(message, outgoing.exchange, outgoing.routing_key, mandatory=True)
            self._collect_confirms()
        except BaseException:
            self.close()
            raise
        refused = self._refused
        if refused:
            self.close()
        return set(range(len(window))) - refused

    def waiting_in(self, queue: str) -> int | None:
        """How many messages wait in a queue; None where there is no such queue. Raises one of BROKER_ERRORS."""
        self._open_channel()
        assert self._connection is not None
        try:
            # A channel of its own: a missing queue ends it.
            self._asking = self._asking or self._connection.channel()
            return int(self._asking.queue_declare(queue, passive=True).message_count)
        except NotFound:
            self._asking = None
            return None
        except BaseException:
            self.close()
            raise

    def heartbeat(self) -> None:
        """Keep an idle connection alive. Raises one of BROKER_ERRORS when it is lost."""
        if self._connection is not None:
            try:
                self._connection.drain_events(timeout=0)
            except TimeoutError:
                pass
            self._connection.heartbeat_check()

    def close(self) -> None:
        """Drop the connection, without a goodbye that a silent broker would not answer; send() opens a new one."""
        self._channel, self._asking, self._pending, self._refused = None, None, {}, set()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect()

    def _open_channel(self) -> Any:
        if self._connection is None or not self._connection.connected:
            self.close()
            self._connection = connect(self.url)
            if not self.waits_in_alarm:
                self._connection.connection.on_blocked = self._on_blocked
        if self._channel is None:
            channel = self._connection.channel()
            channel.confirm_select()
            channel.events["basic_ack"].add(self._on_ack)
            channel.events["basic_nack"].add(self._on_nack)
            channel.events["basic_return"].add(self._on_return)
            self._published, self._pending, self._refused = 0, {}, set()
            self._channel = channel
        return self._channel

    def _collect_confirms(self) -> None:
        assert self._connection is not None
        deadline = monotonic() + self.confirm_timeout
        while self._pending:
            left = deadline - monotonic()
            if left <= 0:
                raise Unconfirmed(f"{len(self._pending)} messages not confirmed within {self.confirm_timeout:g} s.")
            try:
                self._connection.drain_events(timeout=min(left, LISTEN))
            except TimeoutError:
                continue

    def _on_blocked(self, reason: str) -> None:
        self._blocked_until = monotonic() + BLOCKED_PAUSE
        raise Blocked(f"The broker is in alarm: {reason}")

    def _settle(self, tag: int, multiple: bool) -> list[int]:
        if not multiple:
            return [self._pending.pop(tag)] if tag in self._pending else []
        # Tags went in rising, and a dict keeps that order.
        settled = list(takewhile(lambda pending: pending <= tag, self._pending))
        return [self._pending.pop(pending) for pending in settled]

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._settle(tag, multiple)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused.update(self._settle(tag, multiple))

    def _on_return(self, _error: Exception, exchange: str, routing_key: str, message: Any) -> None:
        # It is acked as well: only the return, which comes first, shows it.
        self._refused.update(self._places[message.properties.get("message_id"), exchange, routing_key])
