from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction

from eventbus import Event, publish
from tests.support.bus import LiveBus
from tests.support.wire import Letter
from tests.testapp.events import NobodyCares, ProbeSent

pytestmark = pytest.mark.live

KEY = "probe.sent.v1"


def record(*events: Event) -> list[UUID]:
    with transaction.atomic():
        return publish(*events)


def sequences(letters: list[Letter]) -> dict[str, list[int]]:
    """Per aggregate, the numbers of its events in the order in which they came by."""
    found: dict[str, list[int]] = {}
    for letter in letters:
        envelope = letter.envelope
        found.setdefault(envelope["aggregateId"], []).append(envelope["sequence"])
    return found


@pytest.fixture
def two_relays(live_bus: LiveBus) -> Iterator[None]:
    live_bus.ensure("relay", "relay 2", "worker probe")
    yield
    live_bus.term("relay 2")


@pytest.mark.usefixtures("two_relays")
def test_several_relays_publish_each_event_in_the_order_of_its_aggregate(live_bus: LiveBus) -> None:
    tap = live_bus.wire.tap(KEY)
    aggregates = [uuid4() for _ in range(12)]

    def write(writer: int) -> list[UUID]:
        try:
            return [
                event_id
                for turn in range(36)
                for event_id in record(*(ProbeSent(probe_id=aggregates[(writer + turn + n) % 12]) for n in range(3)))
            ]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        event_ids = [event_id for ids in pool.map(write, range(4)) for event_id in ids]
    live_bus.drain()

    letters = live_bus.wire.take_all(tap)
    assert {letter.properties["message_id"] for letter in letters} == set(map(str, event_ids))
    assert sequences(letters) == {str(aggregate): list(range(1, 37)) for aggregate in aggregates}
    assert live_bus.effects("probe.count", *event_ids) == 36 * 12


def test_an_event_that_nobody_listens_to_is_archived_and_set_aside(live_bus: LiveBus) -> None:
    live_bus.ensure("relay")
    (event_id,) = record(NobodyCares(nobody_id=uuid4()))
    live_bus.wait_for(lambda: not live_bus.query("SELECT event_id FROM outbox"), "the outbox to be empty")
    assert live_bus.query("SELECT type FROM event WHERE id = %s", event_id) == [("nobody.cares",)]
    aside = [letter.properties["message_id"] for letter in live_bus.wire.take_all("orders.unrouted")]
    assert str(event_id) in aside


def test_a_message_tells_any_client_what_it_is(live_bus: LiveBus) -> None:
    live_bus.ensure("relay", "worker probe")
    tap = live_bus.wire.tap(KEY)
    (event_id,) = record(ProbeSent(probe_id=uuid4()))
    live_bus.drain()
    (letter,) = live_bus.wire.take_all(tap)
    assert letter.properties["delivery_mode"] == 2
    assert letter.properties["content_type"] == "application/json"
    assert (
        letter.properties["message_id"]
        == letter.headers["cloudEvents_id"]
        == letter.envelope["eventId"]
        == str(event_id)
    )
    assert letter.properties["correlation_id"] == letter.envelope["metadata"]["correlationId"]
    assert (
        letter.properties["type"] == letter.headers["cloudEvents_type"] == letter.envelope["eventType"] == "probe.sent"
    )


def test_a_relay_is_woken_by_every_commit_and_needs_no_polling(live_bus: LiveBus) -> None:
    """The relay of this test would look by itself only once an hour."""
    live_bus.only("relay patient")
    for turn in range(30):
        record(*(NobodyCares(nobody_id=uuid4()) for _ in range(1 + turn % 3)))
        live_bus.wait_for(lambda: not live_bus.query("SELECT event_id FROM outbox"), "the relay to wake up", seconds=10)
    live_bus.kill9("relay patient")


def test_a_wake_up_is_not_missed_under_concurrency(live_bus: LiveBus) -> None:
    """Commits race the moment in which the relay goes to sleep: whichever comes first, the event goes out."""
    live_bus.only("relay patient")

    def write(_: int) -> None:
        try:
            for _ in range(50):
                record(NobodyCares(nobody_id=uuid4()))
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
        live_bus.wait_for(
            lambda: not live_bus.query("SELECT event_id FROM outbox"), "the last event to go out", seconds=10
        )
    live_bus.kill9("relay patient")


def test_what_the_broker_refuses_stays_in_the_outbox(live_bus: LiveBus) -> None:
    """A full queue: nothing is lost, and what it refused goes out when there is room."""
    live_bus.only("relay", "worker probe")
    full = live_bus.wire.tap(KEY, length=0)
    (event_id,) = record(ProbeSent(probe_id=uuid4()))
    live_bus.wait_for(lambda: "relay.held_back" in live_bus["relay"].says(), "the refusal")
    assert live_bus.query("SELECT event_id FROM outbox") == [(event_id,)]

    live_bus.wire.remove_taps()
    assert full not in live_bus.wire.tapped
    live_bus.drain()
    assert live_bus.effects("probe.count", event_id) == 1
