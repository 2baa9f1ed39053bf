"""What a worker says of itself waits for nobody, and nobody waits for it."""

import socket
from collections.abc import Iterator
from contextlib import closing

import kombu
import pytest

from eventbus.broker.connection import connect, declaring_url
from eventbus.testing.waiting import wait_until
from eventbus.worker.announcements import LIMIT, Announcement, Announcer

EXCHANGE = kombu.Exchange("tests.announcements", type="fanout", durable=False, auto_delete=True)


def announcement(number: int) -> Announcement:
    return Announcement(EXCHANGE, "", {"number": number}, {"headers": {}, "serializer": "json"})


@pytest.fixture
def silent_broker() -> Iterator[str]:
    """It takes the connection and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield f"amqp://guest:guest@127.0.0.1:{listening.getsockname()[1]}//"


def test_a_broker_that_says_nothing_is_not_waited_for_and_the_oldest_gives_way(silent_broker: str) -> None:
    announcer = Announcer(silent_broker)
    announcer.start()
    for number in range(LIMIT + 100):
        announcer.say(announcement(number))
    assert [each.body["number"] for each in announcer._waiting] == list(range(100, LIMIT + 100))
    announcer.end()


def test_what_is_said_arrives_in_order_and_the_last_words_too() -> None:
    got: list[int] = []
    announcer = Announcer(declaring_url())
    with connect(declaring_url()) as listener:
        queue = kombu.Queue("", EXCHANGE, exclusive=True, auto_delete=True)
        with kombu.Consumer(listener, queue, no_ack=True, callbacks=[lambda body, _: got.append(body["number"])]):
            announcer.start()
            for number in range(10):
                announcer.say(announcement(number))
            announcer.end()
            assert not announcer.is_alive()

            def arrived() -> bool:
                try:
                    listener.drain_events(timeout=0.2)
                except TimeoutError:
                    pass
                return got == list(range(10))

            wait_until(arrived, 10, "the announcements")
