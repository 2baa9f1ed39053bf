"""From a broken handler to the last letter replayed, on real servers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import transaction

from eventbus import publish
from eventbus.dead_letters.models import DeadLetter, DeadLetterReplay, DeadLetterReplayItem
from eventbus.testing import on_the_wire
from tests.support.bus import LiveBus
from tests.testapp.events import ProbeSent, TroubleAsked

pytestmark = pytest.mark.live

NEEDED = ("relay", "worker trouble", "dead letters")


@pytest.fixture
def bus(live_bus: LiveBus) -> Iterator[LiveBus]:
    """No letter of an earlier test, and nothing that is broken."""
    live_bus.ensure(*NEEDED[:2])
    live_bus.drain()
    live_bus.wire.take_all("trouble.obey.dead")
    live_bus.ensure(*NEEDED)
    yield live_bus
    # Other tests look for their letters in the queues themselves.
    live_bus.term("dead letters")
    live_bus.query("DELETE FROM broken")
    live_bus.query("TRUNCATE replay, dead_letter CASCADE")


def ask(how: str, times: int = 1) -> list[UUID]:
    with transaction.atomic():
        return publish(*(TroubleAsked(trouble_id=uuid4(), how=how) for _ in range(times)))


def letters(bus: LiveBus, number: int, *, consumer: str = "trouble.obey", state: str = "open") -> list[DeadLetter]:
    """So many letters of a consumer, once they are there."""

    def found() -> list[DeadLetter]:
        here = list(DeadLetter.objects.filter(consumer=consumer, state=state).select_related("group").order_by("pk"))
        return here if len(here) >= number else []

    return bus.wait_for(found, f"{number} {state} letters of {consumer}", 60)


def run_json(bus: LiveBus, *arguments: str, expect: int = 0) -> dict[str, Any]:
    # The log goes before it.
    answer: dict[str, Any] = json.loads(bus.manage(*arguments, "--json", expect=expect).splitlines()[-1])
    return answer


def test_break_find_read_fix_replay_one_then_all_and_every_effect_is_there_once(bus: LiveBus) -> None:
    bus.query("INSERT INTO broken VALUES ('yes')")
    events = ask("give up while broken", 30)
    found = letters(bus, 30)
    first = found[0]
    assert {letter.reason for letter in found} == {"permanent"}
    assert first.group.place == "tests/testapp/consumers.py:obey"
    assert "broken for good" in first.traceback
    assert "tried, and rolled back: fails" in bus.manage("show_dead_letter", str(first.pk), "--try", expect=1)

    bus.query("DELETE FROM broken")
    tried = run_json(bus, "show_dead_letter", str(first.pk), "--try")["trial"]
    assert (tried["verdict"], tried["writes"]) == ("works", {"insert effect": 1})
    assert bus.effects("trouble.obey", *events) == 0

    one = run_json(bus, "replay_dead_letters", "--id", str(first.pk))
    assert (one["state"], one["replayed"]) == ("done", 1)
    everything = run_json(bus, "replay_dead_letters", "--group", first.group.fingerprint)
    assert (everything["state"], everything["total"], everything["replayed"]) == ("done", 29, 29)
    assert all(bus.effects("trouble.obey", event) == 1 for event in events)
    left = run_json(bus, "list_dead_letters")
    assert left["total"] == 0, left
    bus.verify()


def test_a_replay_stops_by_itself_when_what_it_sends_fails_again(bus: LiveBus) -> None:
    bus.query("INSERT INTO broken VALUES ('yes')")
    events = ask("give up while broken", 20)
    letters(bus, 20)
    stopped = run_json(bus, "replay_dead_letters", "--consumer", "trouble.obey", expect=1)
    assert (stopped["state"], stopped["failed"], stopped["replayed"]) == ("stopped", 1, 0)
    assert stopped["note"] == "1 of 1 failed again."
    again = letters(bus, 20)
    assert [letter.arrivals for letter in again] == [2] + [1] * 19
    assert [attempt["attempt"] for attempt in again[0].attempts] == [1, 1]

    bus.query("DELETE FROM broken")
    resumed = run_json(bus, "replay_dead_letters", "--resume", stopped["id"], expect=1)
    assert (resumed["state"], resumed["failed"], resumed["replayed"]) == ("done", 1, 19)
    assert run_json(bus, "replay_dead_letters", "--all")["replayed"] == 1
    assert all(bus.effects("trouble.obey", event) == 1 for event in events)


def test_a_replay_whose_driver_was_killed_is_finished_by_another(bus: LiveBus) -> None:
    bus.query("INSERT INTO broken VALUES ('yes')")
    events = ask("give up while broken", 60)
    letters(bus, 60)
    bus.query("DELETE FROM broken")
    bus.kill9("dead letters")
    driver = bus.process("replay", "python manage.py replay_dead_letters --all --rate 10")
    driver.start()
    bus.wait_for(
        lambda: DeadLetterReplayItem.objects.filter(outcome="replayed").count() > 12, "the replay to be under way"
    )
    driver.kill()
    assert DeadLetterReplay.objects.get().state == "running"

    bus.ensure("dead letters")
    bus.query("UPDATE replay SET rate = NULL")
    bus.wait_for(lambda: DeadLetterReplay.objects.get().state == "done", "another driver to finish it", 60)
    assert DeadLetterReplayItem.objects.filter(outcome="replayed").count() == 60
    assert all(bus.effects("trouble.obey", event) == 1 for event in events)


def test_whatever_cannot_be_processed_becomes_a_letter_with_a_reason(bus: LiveBus) -> None:
    event = on_the_wire(TroubleAsked(trouble_id=uuid4(), how="succeed"))
    key = "trouble.obey"
    sent = {
        "not_json": b"\x80\x04\x95 pickle?",
        "invalid_envelope": b"[1, 2, 3]",
        "invalid_data": event.replace(b'"how":"succeed"', b'"how":[1]'),
        "unknown_type": event.replace(b"trouble.asked", b"trouble.never"),
        "unknown_version": event.replace(b'"version":"1.0"', b'"version":"9.0"'),
        "not_subscribed": on_the_wire(ProbeSent(probe_id=uuid4())),
        "too_large": b" " * 2_000_000,
    }
    for body in sent.values():
        bus.wire.publish(body, key=key, exchange="")
    ask("raise")
    ask("give up")
    ask("die")
    found = {letter.reason: letter for letter in letters(bus, 10)}
    assert found.keys() == {*sent, "exhausted", "permanent", "kills_its_worker"}
    assert [attempt["attempt"] for attempt in found["exhausted"].attempts] == [1, 2, 3]
    for reason, body in sent.items():
        shown = run_json(bus, "show_dead_letter", str(found[reason].pk))
        assert shown["errorMessage"]
        assert shown["payload"]
        assert len(DeadLetter.objects.get(pk=found[reason].pk).body) > len(body)
    assert bus.wire.ready("trouble.obey.dead") == 0


@contextmanager
def database_away(bus: LiveBus) -> Iterator[None]:
    """Nobody gets a connection to the bus's database, and those who had one lost it."""
    with psycopg.connect(bus.server_url, autocommit=True) as server:
        server.execute(f'ALTER DATABASE "{bus.name}" ALLOW_CONNECTIONS false')
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [bus.name])
        try:
            yield
        finally:
            server.execute(f'ALTER DATABASE "{bus.name}" ALLOW_CONNECTIONS true')


def test_no_letter_is_lost_while_the_database_is_away(bus: LiveBus) -> None:
    said = len(bus["dead letters"].says())
    with database_away(bus):
        for number in range(20):
            bus.wire.publish(b"garbage %d" % number, key="trouble.obey", exchange="orders.dead")
        bus.wait_for(
            lambda: bus["dead letters"].says(said).count("dead_letters.interrupted") >= 2, "the ingester to notice"
        )
    assert len(letters(bus, 20)) == 20


def test_a_killed_ingester_stores_each_letter_once(bus: LiveBus) -> None:
    for number in range(300):
        bus.wire.publish(b"garbage %d" % number, key="trouble.obey", exchange="orders.dead")
        if number % 100 == 50:
            bus.kill9("dead letters")
            bus.ensure("dead letters")
    bus.wait_for(lambda: DeadLetter.objects.count() >= 300, "all letters")
    bus.wait_for(lambda: bus.wire.ready("trouble.obey.dead") == 0, "an empty queue")
    assert DeadLetter.objects.count() == 300
