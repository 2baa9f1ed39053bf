"""A contract goes from 1.0 to 2.0 by the guide (docs/contracts.md), with old code at work beside the new."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from eventbus import Event, publish
from tests.support.bus import LiveBus
from tests.testapp.events import Changed, ChangedOne

pytestmark = pytest.mark.live

CONSUMER = "change.follow"
BEFORE, AFTER = {"RELEASE": "before"}, {"RELEASE": "after"}
HELD = AFTER | {"RECORD_AS": "change.made=1"}
OLD, NEW = ("relay", "worker change"), ("relay 2", "worker change new")


@pytest.fixture
def bus(live_bus: LiveBus) -> Iterator[LiveBus]:
    """One on which nothing of this consumer is known, and no process runs."""
    live_bus.only("relay")
    live_bus.drain()
    live_bus.kill9("relay")
    yield live_bus
    live_bus.kill9(*({*OLD, *NEW} & set(live_bus.processes)))
    live_bus.forget(CONSUMER)


def record(event: Event, number: int = 50) -> list[UUID]:
    """So many events of this kind, each of its own aggregate and transaction."""
    ids: list[UUID] = []
    for _ in range(number):
        with transaction.atomic():
            ids += publish(event.model_copy(update={"change_id": uuid4()}))
    return ids


def told(bus: LiveBus, ids: list[UUID]) -> list[str]:
    """What the consumer was told of these events, once it has had all of them."""

    def all_of_them() -> list[str] | None:
        rows = bus.query("SELECT aggregate_id FROM effect WHERE consumer = %s AND event_id = ANY(%s)", CONSUMER, ids)
        return [text for (text,) in rows] if len(rows) >= len(ids) else None

    found = bus.wait_for(all_of_them, f"{len(ids)} effects")
    outcomes = "SELECT count(*) FROM processed_event WHERE consumer = %s AND event_id = ANY(%s) AND outcome = 'done'"
    assert bus.query(outcomes, CONSUMER, ids) == [(len(ids),)]
    assert len(found) == len(ids)
    return found


def test_nobody_misses_an_event_or_meets_one_that_it_cannot_read(bus: LiveBus, settings: Any) -> None:
    one = ChangedOne(change_id=uuid4(), name="Ada Lovelace")
    two = Changed(change_id=uuid4(), first="Ada", last="Lovelace", note="new")

    bus.manage("declare_topology", expect=0, **BEFORE)
    bus.start(*OLD, **BEFORE)
    assert set(told(bus, record(one))) == {"Ada Lovelace"}

    # The first step of the upgrade says what was forgotten.
    assert "set RECORD_AS" in bus.manage("declare_topology", expect=1, **AFTER)
    bus.manage("declare_topology", expect=0, **HELD)
    bus.start(*NEW, **HELD)
    settings.EVENTBUS_RECORD_AS = {"change.made": "1"}
    together = told(bus, record(two, 200) + record(one, 50))
    assert set(together) == {"Ada Lovelace", "Ada/Lovelace/"}, "old and new code have shared the work"

    # The last old process is gone; somebody elsewhere still reads 1.0.
    bus.term(*OLD)
    settings.EVENTBUS_RECORD_AS = {}
    theirs = bus.wire.tap("change.made.v1")
    bus.restart(*NEW, **AFTER)
    ids = record(two)
    late = record(one, 1)
    assert told(bus, ids) == ["Ada/Lovelace/new"] * len(ids)
    assert told(bus, late) == ["Ada/Lovelace/"]
    letters = bus.wire.take(theirs, len(ids) + 1)
    assert [letter.envelope["eventId"] for letter in letters] == list(map(str, ids + late))
    assert {letter.envelope["version"] for letter in letters} == {"1.0"}
    assert {letter.envelope["data"]["name"] for letter in letters} == {"Ada Lovelace"}
    assert {letter.headers["cloudEvents_dataschema"] for letter in letters} == {"/api/v1/schemas/change.made/1.0"}
    # Other groups of the tests have no worker here.
    assert f"{theirs} (another program's)" in bus.manage("bus_status", expect=1, COLUMNS="200", **AFTER)

    # They have gone over as well: the copies end.
    bus.wire.remove_taps()
    bus.wait_for(lambda: ends(bus), "the copies to end")
    dead = "SELECT count(*) FROM dead_letter WHERE consumer = %s"
    assert (bus.query(dead, CONSUMER), bus.wire.ready(f"{CONSUMER}.dead")) == ([(0,)], 0)


def ends(bus: LiveBus) -> bool:
    """Whether of one more event no copy goes to the queue of what nobody is bound to."""
    tap = bus.wire.tap("change.made.v1", exchange="orders.unrouted")
    ids = record(Changed(change_id=uuid4(), first="Ada", last="Lovelace"), 1)
    told(bus, ids)
    found = bus.wire.take_all(tap)
    bus.wire.remove_taps()
    return not found
