"""Consumers that come late: they are filled from the archive while events go on happening."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.db.models import QuerySet

from eventbus import publish
from eventbus.replays.driver import IN_QUEUE
from eventbus.replays.models import ArchiveReplay
from tests.support.bus import LiveBus
from tests.testapp.events import PastTold

pytestmark = pytest.mark.live

#: Events that happened before anybody listened, and how many of them are about one thing.
PAST, EACH = 2_000, 5


@pytest.fixture
def late(live_bus: LiveBus, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a consumer that nobody has declared yet."""
    name: str = request.param
    live_bus.ensure("relay")
    live_bus.drain()
    live_bus.kill9(*({"dead letters"} & set(live_bus.processes)))
    yield name
    live_bus.kill9(*({"dead letters", "worker late"} & set(live_bus.processes)))
    live_bus.forget(name)


def told(number: int) -> list[UUID]:
    """So many events, recorded in some transactions."""
    ids: list[UUID] = []
    for _ in range(0, number, 100):
        with transaction.atomic():
            ids += publish(*(PastTold(past_id=past_id) for past_id in [uuid4() for _ in range(100 // EACH)] * EACH))
    return ids


@contextmanager
def load() -> Iterator[list[UUID]]:
    """Events that happen meanwhile, one after the other; at the end of the block the list is complete."""
    ids: list[UUID] = []
    over = threading.Event()

    def tell() -> None:
        things = [uuid4() for _ in range(20)]
        while not over.wait(0.02):
            with transaction.atomic():
                ids.extend(publish(PastTold(past_id=things[len(ids) % len(things)])))
        connection.close()

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield ids
    finally:
        over.set()
        thread.join()


def replays(consumer: str) -> QuerySet[ArchiveReplay]:
    """Those of this consumer: another may have been filled because its queue was lost."""
    return ArchiveReplay.objects.filter(consumer=consumer)


def once_each(bus: LiveBus, consumer: str, ids: Sequence[UUID]) -> bool:
    """Whether every event has had its effect. Fails where one had two."""
    ((effects, events),) = bus.query(
        "SELECT count(*), count(DISTINCT event_id) FROM effect WHERE consumer = %s", consumer
    )
    assert effects == events
    return bus.effects(consumer, *ids) == len(ids)


def run_json(bus: LiveBus, *arguments: str, **env: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(bus.manage(*arguments, "--json", **env).splitlines()[-1])
    return answer


@pytest.mark.parametrize("late", ["late.count", "late.in_order"], indirect=True)
def test_a_consumer_that_begins_at_the_beginning_has_each_effect_once(live_bus: LiveBus, late: str) -> None:
    past = told(PAST)
    with load() as meanwhile:
        live_bus.wait_for(lambda: len(meanwhile) > 100, "events to happen")
        # The relay declares it first, as may happen in a release: there is no subscription yet.
        live_bus.kill9("relay")
        live_bus.start("relay", LATECOMER=late)
        live_bus.wait_for(lambda: late in {queue["name"] for queue in live_bus.management("queues")}, "the queue")
        live_bus.wait_for(lambda: live_bus.wire.ready(late) > 0, "the queue to fill")
        live_bus.manage("declare_topology", LATECOMER=late)
        fill = replays(late).get()
        assert fill.is_backfill
        assert fill.total >= PAST + 100
        live_bus.start("worker late", LATECOMER=late)
        # Dies when the first window is out and not noted.
        live_bus.start("dead letters", failpoint="event_replay.after_send", LATECOMER=late)
        live_bus.wait_for(lambda: not live_bus["dead letters"].is_alive, "the driver to die")
        fill.refresh_from_db()
        assert (fill.sent, fill.state) == (0, "running")
        live_bus.query("UPDATE event_replay SET lease_until = now()")
        live_bus.start("dead letters", LATECOMER=late)
        live_bus.wait_for(lambda: replays(late).get().sent > PAST / 3, "the fill to be under way", 60)
        live_bus.kill9("dead letters")
        assert replays(late).get().state == "running"
        live_bus.query("UPDATE event_replay SET lease_until = now()")
        live_bus.start("dead letters", LATECOMER=late)
        live_bus.wait_for(lambda: replays(late).get().state == "done", "the fill to end", 90)
    everything = [*past, *meanwhile]
    live_bus.wait_for(lambda: once_each(live_bus, late, everything), "every effect", 60)
    live_bus.drain()
    assert live_bus.query("SELECT count(*) FROM dead_letter WHERE consumer = %s", late) == [(0,)]
    live_bus.verify()


@pytest.mark.parametrize("late", ["late.from_now"], indirect=True)
def test_the_same_selection_sent_twice_has_each_effect_once(live_bus: LiveBus, late: str) -> None:
    past = told(IN_QUEUE + 200)
    live_bus.drain()
    live_bus.manage("declare_topology", LATECOMER=late)
    assert not replays(late).exists()
    wanted = ["replay_events", "--to", late, "--since", "1h"]
    first, second = (run_json(live_bus, *wanted, "--detach", LATECOMER=late) for _ in range(2))
    assert first["total"] == second["total"] >= len(past)
    live_bus.start("dead letters", LATECOMER=late)
    # Without a worker no more go out than may stand before a live event.
    live_bus.wait_for(lambda: live_bus.wire.ready(late) > IN_QUEUE - 200, "the queue to have its share")
    with load() as meanwhile:
        live_bus.wait_for(lambda: len(meanwhile) > 100, "events to happen")
        assert sum(each.sent for each in replays(late)) <= IN_QUEUE
        live_bus.start("worker late", LATECOMER=late)
        live_bus.wait_for(lambda: replays(late).filter(state="done").count() == 2, "both to end", 60)
    live_bus.wait_for(lambda: once_each(live_bus, late, [*past, *meanwhile]), "every effect", 60)
    assert sum(each.sent for each in replays(late)) > len(past)
    again = live_bus.manage(*wanted, "--json", expect=1, LATECOMER=late)
    assert "handled already" in again
    assert "its inbox knows them" in again


@pytest.mark.parametrize("late", ["late.paused_from_now"], indirect=True)
def test_ctrl_c_pauses_and_resume_goes_on(live_bus: LiveBus, late: str) -> None:
    past = told(300)
    live_bus.manage("declare_topology", LATECOMER=late)
    live_bus.start("worker late", LATECOMER=late)
    driver = live_bus.process("replay", f"python manage.py replay_events --to {late} --rate 40", LATECOMER=late)
    driver.start()
    live_bus.wait_for(lambda: (found := replays(late).first()) and found.sent > 20, "the replay to be under way")
    assert driver.stop(20) == 1
    paused = replays(late).get()
    assert paused.state == "paused"
    assert f"replay_events --resume {paused.pk}" in driver.says()
    live_bus.query("UPDATE event_replay SET rate = NULL")
    resumed = run_json(live_bus, "replay_events", "--resume", str(paused.pk), LATECOMER=late)
    assert (resumed["state"], resumed["sent"]) == ("done", resumed["total"])
    live_bus.wait_for(lambda: once_each(live_bus, late, past), "every effect", 60)
