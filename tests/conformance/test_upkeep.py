"""The queue of the periodic tasks: anybody may publish to it, and nothing in it is lost without a trace."""

import json
from typing import Any
from uuid import uuid4

import pytest

from eventbus.broker.topology import UPKEEP
from eventbus.dead_letters.models import DeadLetter
from script._lib import procfile
from tests.support.bus import LiveBus

pytestmark = pytest.mark.live

PLAIN = {"content_type": "application/json", "content_encoding": "utf-8"}
NOTHING = b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'


def task(name: str, **headers: Any) -> dict[str, Any]:
    """The properties of a message that calls a Celery task."""
    ids = {"id": str(uuid4()), "root_id": str(uuid4()), "parent_id": None, "lang": "py", "retries": 0}
    return PLAIN | {"headers": {**ids, "task": name, "argsrepr": "()", "kwargsrepr": "{}", **headers}}


REFUSED: dict[str, tuple[bytes, dict[str, Any]]] = {
    "text": (b"hello", PLAIN),
    "a pickle": (b"\x80\x04\x95\x10", {"content_type": "application/x-python-serialize"}),
    "an event": (json.dumps({"version": "1.0", "eventId": str(uuid4())}).encode(), PLAIN),
    "a task that nobody has": (NOTHING, task("eventbus.eat_everything")),
    "a task of an old protocol": (json.dumps({"task": "x", "id": "1", "args": [], "kwargs": {}}).encode(), PLAIN),
    "a consumer called as a task": (b"[[[], true], {}, {}]", task("probe.count")),
    "a task for another century": (NOTHING, task("eventbus.prune_archive", eta="2199-01-01T00:00:00+00:00")),
    "a task with a limit of its own": (NOTHING, task("eventbus.prune_archive", timelimit=[86_400, None])),
}


@pytest.fixture
def bus(live_bus: LiveBus) -> Any:
    live_bus.ensure("worker eventbus", "dead letters")
    yield live_bus
    live_bus.term("dead letters")
    live_bus.query("TRUNCATE replay, dead_letter CASCADE")


def test_what_is_no_task_of_beats_is_a_dead_letter(bus: LiveBus) -> None:
    for body, properties in REFUSED.values():
        bus.wire.publish(body, key=UPKEEP, exchange="", **properties)

    letters = DeadLetter.objects.filter(consumer=UPKEEP)
    # Those with the same body are one letter.
    bus.wait_for(lambda: letters.count() == len({body for body, _ in REFUSED.values()}), "the dead letters")
    assert set(letters.values_list("reason", flat=True)) == {"rejected"}
    assert bus["worker eventbus"].says().count("message.refused") == len(REFUSED)


def test_a_task_with_forged_arguments_leaves_a_line_and_the_next_one_runs(bus: LiveBus) -> None:
    bus.wire.publish(b'[["all of it"], {}, {}]', key=UPKEEP, exchange="", **task("eventbus.prune_archive"))
    bus.wire.publish(NOTHING, key=UPKEEP, exchange="", **task("eventbus.make_partitions"))
    bus.wait_for(lambda: "task.failed" in bus["worker eventbus"].says(), "a line about the task that failed")
    bus.wait_for(lambda: bus.wire.ready(UPKEEP) == 0, "the upkeep to go on")


def test_what_beat_sends_is_done(bus: LiveBus) -> None:
    bus.term("worker eventbus")
    bus.ensure("worker eventbus")
    sent = bus.process("beat", procfile.commands()["beat"])
    sent.start()
    try:
        bus.wait_for(lambda: "idempotency_keys.forgotten" in bus["worker eventbus"].says(), "a task with a time limit")
        bus.wait_for(lambda: bus.wire.ready(UPKEEP) == 0, "the others to be taken")
    finally:
        sent.kill()
    assert "message.refused" not in bus["worker eventbus"].says()


def test_a_task_that_nobody_took_in_time_is_no_dead_letter(bus: LiveBus) -> None:
    bus.term("worker eventbus")
    bus.wire.publish(NOTHING, key=UPKEEP, exchange="", expiration="1", **task("eventbus.note_activity"))
    bus.wait_for(lambda: '"out_of_date": 1' in bus["dead letters"].says(), "it to be out of date")
    assert not DeadLetter.objects.filter(consumer=UPKEEP, reason="expired_in_queue").exists()
