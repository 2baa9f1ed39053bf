from typing import Any

import pytest

from eventbus.broker.connection import HEARTBEAT
from eventbus.broker.publisher import Blocked, ConfirmingPublisher, Outgoing, Unconfirmed


class HungChannel:
    """Of a broker that takes bytes and answers nothing."""

    def basic_publish(self, *message: Any, mandatory: bool) -> None:
        pass

    def close(self) -> None:
        raise AssertionError("would wait for an answer that never comes")


class HungConnection:
    connected = True
    was_cut = False

    def drain_events(self, timeout: float) -> None:
        raise TimeoutError

    def collect(self) -> None:
        self.was_cut = True


class ReturningChannel:
    """Of a broker without the queue: what comes is returned, then confirmed."""

    def __init__(self, publisher: ConfirmingPublisher) -> None:
        self.publisher, self.published = publisher, 0

    def basic_publish(self, message: Any, exchange: str, routing_key: str, *, mandatory: bool) -> None:
        self.published += 1
        self.publisher._on_return(Exception(), exchange, routing_key, message)
        self.publisher._on_ack(self.published, multiple=False)


def test_of_two_copies_of_an_event_for_a_missing_queue_neither_has_arrived() -> None:
    publisher = ConfirmingPublisher("amqp://")
    publisher._connection, publisher._channel = HungConnection(), ReturningChannel(publisher)
    twice = [Outgoing("", "parcel.track", b"{}", {"message_id": "1"})] * 2
    assert publisher.send(twice) == set()


def test_a_time_out_cuts_the_connection_without_a_goodbye() -> None:
    """A broker that hangs would not answer one, and the relay would wait for it half a minute more."""
    publisher = ConfirmingPublisher("amqp://", confirm_timeout=0.01)
    connection = HungConnection()
    publisher._connection, publisher._channel = connection, HungChannel()

    with pytest.raises(Unconfirmed):
        publisher.send([Outgoing("orders", "order.created.v1", b"{}", {"message_id": "1"})])

    assert connection.was_cut
    assert publisher._connection is publisher._channel is None


class LivingConnection(HungConnection):
    """To a broker that gives signs of life and confirms nothing."""

    asked: float

    def drain_events(self, timeout: float) -> None:
        self.asked = timeout
        raise ConnectionResetError


def test_a_heartbeat_does_not_lengthen_the_wait_for_a_confirm() -> None:
    """Whoever listens longer than the pause between two of them goes on listening."""
    publisher = ConfirmingPublisher("amqp://", confirm_timeout=10)
    connection = LivingConnection()
    publisher._connection, publisher._channel = connection, HungChannel()
    with pytest.raises(ConnectionResetError):
        publisher.send([Outgoing("orders", "order.created.v1", b"{}", {"message_id": "1"})])
    assert connection.asked < HEARTBEAT / 2


class BlockingConnection(HungConnection):
    """To a broker in alarm, which says so when somebody publishes."""

    def __init__(self, publisher: ConfirmingPublisher) -> None:
        self.publisher = publisher

    def drain_events(self, timeout: float) -> None:
        self.publisher._on_blocked("low on memory")


def test_who_does_not_wait_for_a_broker_in_alarm_hears_of_it_at_once_and_leaves_it_alone_for_a_while() -> None:
    publisher = ConfirmingPublisher("amqp://nobody-is-asked.invalid", waits_in_alarm=False)
    publisher._connection, publisher._channel = BlockingConnection(publisher), HungChannel()
    letter = [Outgoing("", "parcel.track.dead", b"{}", {"message_id": "1"})]
    with pytest.raises(Blocked, match="low on memory"):
        publisher.send(letter)
    with pytest.raises(Blocked):
        publisher.send(letter)
