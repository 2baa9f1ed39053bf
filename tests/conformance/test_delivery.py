import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from time import monotonic
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from eventbus import Event, publish
from tests.support.bus import LiveBus
from tests.support.trouble import ask, closed_gate
from tests.testapp.events import ProbeSent, TroubleAsked

pytestmark = pytest.mark.live


def record(*events: Event) -> list[UUID]:
    with transaction.atomic():
        return publish(*events)


def trouble(how: str) -> TroubleAsked:
    return TroubleAsked(trouble_id=uuid4(), how=how)


@contextmanager
def only_slot_taken(bus: LiveBus) -> Iterator[None]:
    """Inside, the handler of a "wait" event waits, and with it the only slot of its consumer."""
    with closed_gate(bus):
        (waiting,) = ask("wait")
        bus.wait_for(lambda: bus.runs("trouble.obey", waiting) == 1, "the handler to wait at the gate")
        yield


def test_one_event_reaches_two_consumers_once_each(live_bus: LiveBus) -> None:
    live_bus.ensure("relay", "worker probe")
    (event_id,) = record(ProbeSent(probe_id=uuid4()))
    live_bus.drain()
    assert live_bus.effects("probe.count", event_id) == live_bus.effects("probe.audit", event_id) == 1
    live_bus.verify()


def test_each_consumer_is_a_task_of_its_own_name_and_id(live_bus: LiveBus) -> None:
    live_bus.ensure("relay", "worker probe")
    tap = live_bus.wire.tap("task.#", exchange="celeryev")
    (event_id,) = record(ProbeSent(probe_id=uuid4()))
    live_bus.drain()

    seen: list[dict[str, str]] = []

    def succeeded() -> dict[str, str]:
        for letter in live_bus.wire.take_all(tap):
            body = json.loads(letter.body)
            seen.extend(body if isinstance(body, list) else [body])
        done = {event["uuid"] for event in seen if event["type"] == "task-succeeded"}
        return {
            event["name"]: event["uuid"]
            for event in seen
            if event["type"] == "task-received" and event["uuid"] in done and str(event_id) in event["args"]
        }

    tasks = live_bus.wait_for(
        lambda: found if len(found := succeeded()) == 2 else None, "both tasks in the worker events"
    )
    assert set(tasks) == {"probe.audit", "probe.count"}
    assert len(set(tasks.values())) == 2


def test_a_lone_event_is_not_kept_waiting_for_others(live_bus: LiveBus) -> None:
    """Far below the second that an idle relay or a batching timer would add."""
    live_bus.ensure("relay", "worker probe")
    took = []
    for _ in range(11):
        began = monotonic()
        (event_id,) = record(ProbeSent(probe_id=uuid4()))
        live_bus.wait_for(partial(live_bus.effects, "probe.count", event_id), "the lone event's effect")
        took.append(monotonic() - began)
    live_bus.drain()
    assert median(took) < 0.5


def wait_until_fetched(bus: LiveBus, event_ids: list[UUID]) -> None:
    """Until the busy consumer's events are in its worker's hands: its neighbour, who is served last, has done them."""
    bus.wait_for(lambda: bus.effects("trouble.watch", *event_ids) == len(event_ids), "the neighbour to handle them")
    bus.wait_for(lambda: bus.wire.ready("trouble.obey") == 0, "the worker to fetch them")


def test_what_waits_for_a_busy_consumer_is_handled_together(live_bus: LiveBus) -> None:
    live_bus.ensure("relay", "worker trouble")
    with only_slot_taken(live_bus):
        event_ids = record(*(trouble("succeed") for _ in range(40)))
        wait_until_fetched(live_bus, event_ids)
        assert sum(live_bus.runs("trouble.obey", event_id) for event_id in event_ids) == 0
    live_bus.drain()
    assert live_bus.effects("trouble.obey", *event_ids) == 40
    batches = [
        line["events"]
        for line in live_bus["worker trouble"].log_lines()
        if (line["event"], line.get("consumer")) == ("batch.processed", "trouble.obey")
    ]
    assert max(batches) > 20


def test_one_bad_event_in_a_batch_fails_alone(live_bus: LiveBus) -> None:
    live_bus.ensure("relay", "worker trouble")
    with only_slot_taken(live_bus):
        *good, bad = event_ids = record(*(trouble("succeed") for _ in range(20)), trouble("give up"))
        wait_until_fetched(live_bus, event_ids)
    live_bus.drain()

    # Once in the batch that failed, and once alone.
    assert live_bus.runs("trouble.obey", bad) == 2
    assert live_bus.effects("trouble.obey", *good) == 20
    assert {live_bus.outcome("trouble.obey", event_id) for event_id in good} == {"done"}
    assert live_bus.outcome("trouble.obey", bad) == "dead"
    (letter,) = live_bus.wire.take("trouble.obey.dead", 1)
    assert letter.properties["message_id"] == str(bad)
    live_bus.verify()


def test_a_slow_consumer_does_not_slow_its_neighbours(live_bus: LiveBus) -> None:
    live_bus.ensure("relay", "worker trouble")
    with only_slot_taken(live_bus):
        event_ids = record(*(trouble("succeed") for _ in range(50)))
        live_bus.wait_for(lambda: live_bus.effects("trouble.watch", *event_ids) == 50, "the neighbour to go on")
        assert live_bus.effects("trouble.obey", *event_ids) == 0
    live_bus.drain()
    assert live_bus.effects("trouble.obey", *event_ids) == 50
