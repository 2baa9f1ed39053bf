"""Faults 22 and 24: a dead-letter queue is missing while letters arrive; letters are replayed twice, under load."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event as Flag
from threading import Thread
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction

from eventbus import publish
from eventbus.broker.topology import DEAD
from eventbus.dead_letters.models import DeadLetter
from tests.support.bus import LiveBus
from tests.testapp.events import TroubleAsked

pytestmark = [pytest.mark.live, pytest.mark.faults]

CONSUMER = "trouble.obey"
QUEUE = f"{CONSUMER}.dead"
LETTERS = 20
REPLAYED = 100


def ask(how: str, times: int) -> list[UUID]:
    with transaction.atomic():
        return publish(*[TroubleAsked(trouble_id=uuid4(), how=how) for _ in range(times)])


@pytest.fixture
def bus(live_bus: LiveBus) -> Iterator[LiveBus]:
    live_bus.only("relay", "worker trouble")
    live_bus.drain()
    live_bus.wire.take_all(QUEUE)
    yield live_bus
    live_bus.query("DELETE FROM broken")
    live_bus.manage("declare_topology")
    live_bus.kill9(*(name for name in ("dead letters",) if name in live_bus.processes))
    live_bus.query("TRUNCATE replay, dead_letter CASCADE")


def unbind(bus: LiveBus) -> None:
    with bus.wire.channel() as channel:
        channel.queue_unbind(QUEUE, DEAD, CONSUMER)


def bind_again(bus: LiveBus) -> None:
    with bus.wire.channel() as channel:
        channel.queue_bind(QUEUE, DEAD, CONSUMER)


def delete(bus: LiveBus) -> None:
    with bus.wire.channel() as channel:
        channel.queue_delete(QUEUE)


def declare_again(bus: LiveBus) -> None:
    bus.manage("declare_topology")


def postponed(bus: LiveBus) -> set[str]:
    lines = bus["worker trouble"].log_lines()
    return {line["event_id"] for line in lines if line.get("event") == "event.postponed"}


@pytest.mark.parametrize(("remove", "restore"), [(unbind, bind_again), (delete, declare_again)])
def test_letters_wait_for_a_dead_letter_queue_that_is_missing(
    bus: LiveBus, remove: Callable[[LiveBus], None], restore: Callable[[LiveBus], None]
) -> None:
    remove(bus)
    events = ask("give up", LETTERS)
    bus.wait_for(lambda: postponed(bus) >= {str(event) for event in events}, "each letter to find no queue", 60)
    restore(bus)
    bus.wait_for(lambda: bus.wire.ready(QUEUE) >= LETTERS, "the letters to arrive")
    letters = bus.wire.take_all(QUEUE)
    assert sorted(letter.properties["message_id"] for letter in letters) == sorted(map(str, events))
    assert {letter.headers["x-dead-reason"] for letter in letters} == {"permanent"}
    assert bus.effects(CONSUMER, *events) == 0
    bus.verify()


def test_who_stores_the_letters_makes_a_deleted_queue_again(bus: LiveBus) -> None:
    bus.ensure("dead letters")
    bus.wait_for(lambda: consumers(bus) == 1, "the queue to be consumed")
    delete(bus)
    events = ask("give up", LETTERS)
    bus.wait_for(lambda: stored("open") == set(events), "the letters to be stored", 60)


def consumers(bus: LiveBus) -> int:
    with bus.wire.channel() as channel:
        return int(channel.queue_declare(QUEUE, passive=True).consumer_count)


def stored(state: str) -> set[UUID | None]:
    return set(DeadLetter.objects.filter(consumer=CONSUMER, state=state).values_list("event_id", flat=True))


@contextmanager
def under_load(bus: LiveBus) -> Iterator[list[UUID]]:
    """Events of the same consumer keep coming while the block runs, as many as it handles; their ids."""
    over, sent = Flag(), list[UUID]()

    def send() -> None:
        try:
            while not over.is_set():
                sent.extend(ask("succeed", 10))
                bus.wait_for(lambda: bus.effects(CONSUMER, sent[-1]), "the load to be handled", 60)
        finally:
            connection.close()

    customer = Thread(target=send)
    customer.start()
    try:
        bus.wait_for(lambda: bus.effects(CONSUMER, *sent) > 0, "the load to flow")
        yield sent
    finally:
        over.set()
        customer.join(60)


def replay_all(bus: LiveBus) -> dict[str, object]:
    told: dict[str, object] = json.loads(bus.manage("replay_dead_letters", "--all", "--json").splitlines()[-1])
    return told


def test_letters_replayed_twice_under_load_have_their_effects_once(bus: LiveBus) -> None:
    bus.ensure("dead letters")
    bus.query("INSERT INTO broken VALUES ('until the replay')")
    events = ask("give up while broken", REPLAYED)
    bus.wait_for(lambda: stored("open") == set(events), "the letters to be stored", 60)
    bus.query("DELETE FROM broken")

    with under_load(bus) as others:
        assert (first := replay_all(bus))["replayed"] == REPLAYED, first
        # As after a table was restored from a backup: it knows nothing of the first replay.
        bus.query("UPDATE dead_letter SET state = 'open', settled_at = NULL, replay_id = NULL")
        assert (second := replay_all(bus))["replayed"] == REPLAYED, second
    bus.drain()
    assert bus.query(
        "SELECT count(*) FROM effect WHERE consumer = %s AND event_id = ANY(%s)", CONSUMER, [*events, *others]
    ) == [(REPLAYED + len(others),)]
    assert bus.effects("trouble.watch", *events) == REPLAYED
    assert stored("replayed") == set(events)
    bus.verify()
