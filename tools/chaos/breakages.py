"""Eleven ways to build the pipeline wrong, each a patch at the start of a process. The checker must see every one.

Only `tools.chaos.settings` brings them in; anywhere else the module refuses.
"""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import amqp
from django.conf import settings
from django.core.checks.registry import registry
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction

from eventbus.broker.publisher import ConfirmingPublisher, Outgoing, Unconfirmed
from eventbus.relay import claims, relay
from eventbus.retries import sending
from eventbus.worker import celery_settings, inbox, processing
from eventbus.worker.circuit_breaker import CircuitBreaker
from eventbus.worker.lanes import Lane

Breakage = Callable[[], None]
BREAKAGES: dict[str, Breakage] = {}


def breakage(name: str) -> Callable[[Breakage], Breakage]:
    def register(patch: Breakage) -> Breakage:
        BREAKAGES[name] = patch
        return patch

    return register


def apply(name: str) -> None:
    """Build it wrong, in this process. Raises ImproperlyConfigured outside the settings of `script/chaos`."""
    if not settings.EVENTBUS_FAILPOINTS_ALLOWED:
        raise ImproperlyConfigured("CHAOS_BREAKAGE is set, and only tools.chaos.settings allows it: unset it.")
    if name not in BREAKAGES:
        raise ImproperlyConfigured(f"There is no breakage {name!r}. Known: {', '.join(BREAKAGES)}.")
    BREAKAGES[name]()
    # `manage.py check` sees some of them too, and would not let the process start.
    registry.registered_checks.clear()


def shorten_confirm_timeout(seconds: float) -> None:
    """For the product as it is and for a broken one alike: the trials need a time-out of confirms to happen soon."""
    relay.CONFIRM_TIMEOUT = seconds


@breakage("no-deduplication")
def forget_what_was_handled() -> None:
    """The inbox says of every event that it is new."""
    inbox.CLAIM = _changed(inbox.CLAIM, "WHERE done.outcome IN ('dead', 'waiting')", "")


@breakage("early-ack")
def acknowledge_first() -> None:
    """Celery's default: acknowledged when a process takes it, not when it is done."""
    celery_settings.CELERY["task_acks_late"] = False


@breakage("id-greater-than-last")
def read_on_from_the_last() -> None:
    """The relay remembers how far it came and reads on from there."""
    last = 0

    class Reader(relay.Relay):
        def publish_batch(self) -> int:
            nonlocal last
            claims.CLAIM = _changed(original, "blocked_key IS NULL\n", f"blocked_key IS NULL AND position > {last}\n")
            with connection.cursor() as cursor:
                cursor.execute("SELECT coalesce(max(position), 0) FROM outbox")
                ((last_seen,),) = cursor.fetchall()
            published = super().publish_batch()
            last = max(last, last_seen)
            return published

    original = claims.CLAIM
    _replace_relay(Reader)


@breakage("no-confirms")
def publish_and_hope() -> None:
    """What was written to the socket counts as published."""

    def send(self: ConfirmingPublisher, window: Sequence[Outgoing]) -> set[int]:
        try:
            channel = self._open_channel()
            _publish(channel, window)
        except BaseException:
            self.close()
            raise
        return set(range(len(window)))

    ConfirmingPublisher.send = send  # type: ignore[method-assign]


@breakage("reused-channel")
def go_on_after_an_error() -> None:
    """The channel is kept after a time-out, and confirms are counted, not matched: a late one passes for another's."""
    settled = credit = 0

    def on_ack(tag: int, multiple: bool) -> None:
        nonlocal settled, credit
        credit += tag - settled if multiple else 1
        settled = max(settled, tag)

    def send(self: ConfirmingPublisher, window: Sequence[Outgoing]) -> set[int]:
        nonlocal credit
        channel = self._open_channel()
        channel.events["basic_ack"] = {on_ack}
        _publish(channel, window)
        deadline = monotonic() + self.confirm_timeout
        while credit < len(window):
            if monotonic() > deadline:
                raise Unconfirmed("Not confirmed in time.")
            try:
                self._connection.drain_events(timeout=0.1)  # type: ignore[union-attr]
            except TimeoutError:
                continue
        credit -= len(window)
        return set(range(len(window)))

    ConfirmingPublisher.send = send  # type: ignore[method-assign]
    ConfirmingPublisher.heartbeat = lambda self: None  # type: ignore[method-assign]
    stock_close = ConfirmingPublisher.close

    def close(self: ConfirmingPublisher) -> None:
        if self._connection is None or not self._connection.connected:
            stock_close(self)

    ConfirmingPublisher.close = close  # type: ignore[method-assign]
    stock_declare = relay.Relay._declare_topology

    def declare_once(self: relay.Relay) -> None:
        stock_declare(self)
        relay.Relay._declare_topology = lambda self: None  # type: ignore[method-assign]

    relay.Relay._declare_topology = declare_once  # type: ignore[method-assign]


@breakage("unconfirmed-retries")
def forget_retries_when_sent() -> None:
    """A retry whose bytes are written to the socket is done with."""

    class Hopeful(ConfirmingPublisher):
        def send(self, window: Sequence[Outgoing]) -> set[int]:
            _publish(self._open_channel(), window)
            return set(range(len(window)))

    stock_init = sending.RetrySender.__init__

    def init(self: sending.RetrySender, publisher: ConfirmingPublisher) -> None:
        # On a connection of its own: the relay counts what goes over its.
        stock_init(self, Hopeful(publisher.url))

    sending.RetrySender.__init__ = init  # type: ignore[method-assign]


@breakage("unlocked-stock")
def read_then_write() -> None:
    """The shelf is read without a lock, and written back from what was read."""
    from inventory import services

    services.LOCK = _changed(services.LOCK, "FOR UPDATE", "")
    read: dict[str, int] = {}
    lock = services._lock

    def remember(product_ids: Any) -> Any:
        levels = lock(product_ids)
        read.update({product_id: level.available for product_id, level in levels.items()})
        return levels

    def take(taken: Any) -> None:
        with connection.cursor() as cursor:
            for product_id, quantity in taken.items():
                left = read[product_id] - quantity
                cursor.execute(
                    "UPDATE inventory_stock SET available = %s, reserved = received - shipped - %s "
                    "WHERE product_id = %s",
                    [left, left, product_id],
                )

    services._lock = remember
    services._take = take


@breakage("mail-before-commit")
def send_then_commit() -> None:
    """The claim on a mail commits after the mail is gone."""
    from notifications import services

    services._hand_over = transaction.atomic(services._hand_over)


@breakage("poison-opens-the-breaker")
def blame_everything_else() -> None:
    """An error of the event counts as an outage, and after a while whatever stands first is tried: more of the same."""
    processing._may_be_outage = lambda what, error: True
    CircuitBreaker.pause = property(lambda self: 30.0)  # type: ignore[assignment, method-assign]
    Lane._probe = lambda self: (self.alone or self.waiting).popleft()  # type: ignore[method-assign]


@breakage("deadline-by-the-clock")
def count_every_second() -> None:
    """An order is overdue by its age alone, also where nobody could have answered it."""
    from orders import queries

    queries.under_way = lambda *_, **__: set()  # type: ignore[attr-defined]


@breakage("no-mail-for-a-cancelled-order")
def leave_cancellations_out() -> None:
    """Nobody thought of the customer whose order is called off."""
    from notifications import services
    from notifications.models import Kind

    queue_mails = services.queue_mails

    def queue_others(rendered: Any) -> None:
        queue_mails([(mail, event) for mail, event in rendered if mail.kind != Kind.CANCELLATION])

    services.queue_mails = queue_others


def _changed(statement: str, part: str, by: str) -> str:
    """The statement with one part replaced. Raises ImproperlyConfigured if it is not there: it would break nothing."""
    if part not in statement:
        raise ImproperlyConfigured(f"{part!r} is not in the statement any more: adapt the breakage.")
    return statement.replace(part, by, 1)


def _replace_relay(reader: type[relay.Relay]) -> None:
    relay.Relay = reader  # type: ignore[misc]


def _publish(channel: Any, window: Sequence[Outgoing]) -> None:
    for outgoing in window:
        message = amqp.Message(outgoing.body, delivery_mode=2, **outgoing.properties)
        channel.basic_publish(message, outgoing.exchange, outgoing.routing_key, mandatory=True)
