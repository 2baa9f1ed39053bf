"""What a worker says of itself waits for nobody, and nobody waits for it."""

import socket
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import kombu
import pytest

from eventbus.broker.connection import connect, declaring_url
from eventbus.testing.waiting import wait_until
from eventbus.worker.announcements import LIMIT, Announcement, Announcer, Dispatcher, Events
from eventbus.worker.celery_settings import celery_app

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


def test_what_tasks_say_within_a_moment_is_one_message_and_all_else_goes_at_once() -> None:
    said: list[Announcement] = []
    due: list[Any] = []
    announcer: Any = SimpleNamespace(say=said.append)
    timer = SimpleNamespace(call_after=lambda seconds, what: due.append(what))
    dispatcher = Dispatcher(announcer, timer, app=celery_app(), hostname="worker@here")
    for number in range(3):
        dispatcher.send("task-received", uuid=str(number))
        dispatcher.send("task-succeeded", uuid=str(number))
    assert said == []
    (flush,) = due
    flush()
    (together,) = said
    assert together.routing_key == "task.multi"
    assert [(each["type"], each["uuid"]) for each in together.body] == [
        (kind, number) for number in "012" for kind in ("task-received", "task-succeeded")
    ]
    dispatcher.send("worker-heartbeat")
    assert [each.routing_key for each in said] == ["task.multi", "worker.heartbeat"]
    dispatcher.send("task-received", uuid="3")
    assert len(due) == 2


def test_what_tasks_have_said_when_the_connection_is_lost_or_the_worker_ends_is_said_all_the_same() -> None:
    said: list[Announcement] = []
    worker = SimpleNamespace(
        announcer=SimpleNamespace(say=said.append, is_alive=lambda: True, end=lambda: None),
        timer=SimpleNamespace(call_after=lambda *_: None),
        app=celery_app(),
        hostname="worker@here",
        connection_errors=(),
        channel_errors=(),
    )
    step = Events(worker)
    step.start(worker)
    worker.event_dispatcher.send("task-received", uuid="1")
    step.start(worker)
    worker.event_dispatcher.send("task-received", uuid="2")
    step.shutdown(worker)
    assert [each["uuid"] for announcement in said for each in announcement.body] == ["1", "2"]
