from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from eventbus import publish
from tests.support.bus import LiveBus
from tests.testapp.events import TroubleAsked

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def worker(live_bus: LiveBus) -> None:
    live_bus.ensure("relay", "worker trouble")


def ask(how: str) -> UUID:
    with transaction.atomic():
        (event_id,) = publish(TroubleAsked(trouble_id=uuid4(), how=how))
    return event_id


def logged(bus: LiveBus, what: str, consumer: str, event_id: UUID) -> list[dict[str, Any]]:
    """The worker's log lines of this kind about this event."""
    return [
        line
        for line in bus["worker trouble"].log_lines()
        if (line.get("event"), line.get("consumer"), line.get("event_id")) == (what, consumer, str(event_id))
    ]


def test_a_failing_event_is_retried_for_its_consumer_alone_and_then_a_dead_letter(live_bus: LiveBus) -> None:
    event_id = ask("raise")
    live_bus.drain()

    times = live_bus.query("SELECT at FROM run WHERE event_id = %s ORDER BY at", event_id)
    assert len(times) == 3
    assert all((after - before).total_seconds() > 1 for (before,), (after,) in pairwise(times))
    assert live_bus.outcome("trouble.obey", event_id) == "dead"
    assert live_bus.effects("trouble.obey", event_id) == 0
    assert [line["attempt"] for line in logged(live_bus, "event.postponed", "trouble.obey", event_id)] == [1, 2]

    (letter,) = live_bus.wire.take("trouble.obey.dead", 1)
    assert letter.headers["x-dead-reason"] == "exhausted"
    assert letter.headers["x-consumer"] == "trouble.obey"
    assert letter.headers["x-attempt"] == 3
    assert letter.headers["x-error-class"] == "builtins.ValueError"
    assert letter.headers["x-error-message"] == "raised, as asked"
    assert "in obey" in letter.headers["x-traceback"]
    assert letter.headers["x-first-failed-at"] < letter.headers["x-failed-at"]
    assert letter.headers["cloudEvents_id"] == letter.properties["message_id"] == str(event_id)

    # The neighbour, who listens to the same event, got it once and never again.
    assert live_bus.effects("trouble.watch", event_id) == 1
    assert logged(live_bus, "event.duplicate", "trouble.watch", event_id) == []
    live_bus.verify()


def test_an_event_that_heals_has_its_effect_once(live_bus: LiveBus) -> None:
    live_bus.query("INSERT INTO broken VALUES ('for now')")
    event_id = ask("raise while broken")
    live_bus.wait_for(lambda: logged(live_bus, "event.postponed", "trouble.obey", event_id), "the first failure")
    live_bus.query("DELETE FROM broken")
    live_bus.drain()

    assert live_bus.outcome("trouble.obey", event_id) == "done"
    assert live_bus.effects("trouble.obey", event_id) == 1
    assert live_bus.query("SELECT attempts > 1 FROM processed_event WHERE event_id = %s AND consumer = 'trouble.obey'",
                          event_id) == [(True,)]  # fmt: skip
    assert live_bus.wire.take_all("trouble.obey.dead") == []


def test_what_cannot_heal_is_not_retried(live_bus: LiveBus) -> None:
    event_id = ask("give up")
    live_bus.drain()
    assert live_bus.runs("trouble.obey", event_id) == 1
    (letter,) = live_bus.wire.take("trouble.obey.dead", 1)
    assert letter.headers["x-dead-reason"] == "permanent"
    assert letter.headers["x-attempt"] == 1


def test_a_handler_that_overruns_its_time_limit_is_stopped_and_retried(live_bus: LiveBus) -> None:
    event_id = ask("overrun")
    live_bus.drain()
    assert live_bus.runs("trouble.hurry", event_id) == 2
    (letter,) = live_bus.wire.take("trouble.hurry.dead", 1)
    assert letter.headers["x-dead-reason"] == "exhausted"
    assert "SoftTimeLimitExceeded" in letter.headers["x-error-class"]
    live_bus.wire.take_all("trouble.obey.dead")


def test_a_replayed_dead_letter_has_its_effect_once(live_bus: LiveBus) -> None:
    """What a replay does: the letter goes back to its consumer's queue, with its attempts counted anew."""
    live_bus.query("INSERT INTO broken VALUES ('until the replay')")
    event_id = ask("raise while broken")
    live_bus.drain()
    (letter,) = live_bus.wire.take("trouble.obey.dead", 1)
    live_bus.query("DELETE FROM broken")

    for _ in range(2):
        live_bus.wire.publish(letter.body, exchange="", key="trouble.obey", **letter.properties)

    live_bus.wait_for(lambda: live_bus.outcome("trouble.obey", event_id) == "done", "the replay to work")
    live_bus.wait_for(lambda: logged(live_bus, "event.duplicate", "trouble.obey", event_id), "the second one")
    assert live_bus.effects("trouble.obey", event_id) == 1
