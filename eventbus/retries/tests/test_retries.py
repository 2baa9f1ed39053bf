"""A failed delivery from the row to the queue: what is kept, what is sent when, and what a sick queue delays."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
import pytest
from amqp import Message
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus.broker.publisher import ConfirmingPublisher, Outgoing, Unconfirmed
from eventbus.db.sql import fetch
from eventbus.relay.publishing import CountingPublisher
from eventbus.relay.relay import Relay
from eventbus.retries.models import WaitingRetry
from eventbus.retries.sending import RetrySender, Sent
from eventbus.retries.services import hurry
from eventbus.retries.writing import SPREAD, write
from eventbus.tests.builders import StandInBroker, anything

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
HEADERS = {"x-attempt": 2, "x-first-failed-at": NOW.isoformat(), "cloudEvents_id": "e1"}
PROPERTIES = {"message_id": "e1", "type": "parcel.sent", "timestamp": 1_740_000_000}


class SickBroker(StandInBroker):
    """Of which some queues are full or missing."""

    def __init__(self, *sick: str) -> None:
        super().__init__()
        self.sick = set(sick)

    def send(self, window: Any) -> set[int]:
        taken = {place for place, each in enumerate(window) if each.routing_key not in self.sick}
        self.sent += [window[place] for place in sorted(taken)]
        return taken


def fail(
    to: str = "parcel.track",
    body: bytes = b"body",
    *,
    after: float = 0,
    attempt: int = 2,
    headers: dict[str, Any] | None = None,
) -> None:
    """A delivery failed and comes again."""
    write(
        Outgoing("", to, body, {**PROPERTIES, "application_headers": {**HEADERS, **(headers or {})}}),
        after=after,
        attempt=attempt,
        first_failed_at=NOW,
        error="ValueError: no",
        event_id=None,
        envelope=None,
    )


def sender(broker: StandInBroker) -> RetrySender:
    """One that looks now."""
    return RetrySender(cast(ConfirmingPublisher, broker))


def waiting() -> list[tuple[str, int]]:
    return list(WaitingRetry.objects.values_list("consumer", "refusals"))


def seconds_to_go() -> list[float]:
    """After how many seconds those that wait were due when they were written."""
    return [float(seconds) for (seconds,) in fetch("SELECT extract(epoch FROM due_at - created_at) FROM waiting_retry")]


def test_what_is_due_goes_to_its_queue_as_it_came_and_the_row_goes() -> None:
    broker = StandInBroker()
    fail(body=b'{"a": "\xff"}')
    assert sender(broker).send_due() == Sent(1)
    (sent,) = broker.sent
    assert (sent.exchange, sent.routing_key, sent.body) == ("", "parcel.track", b'{"a": "\xff"}')
    assert sent.properties == {**PROPERTIES, "application_headers": HEADERS}
    assert waiting() == []


def test_the_payload_is_encrypted_while_it_waits() -> None:
    fail(body=b"grace@shop.example")
    assert b"grace" not in bytes(WaitingRetry.objects.get().body)


def test_what_is_not_due_waits_a_little_longer_than_it_was_told_at_most() -> None:
    broker = StandInBroker()
    for number in range(20):
        fail(body=bytes([number]), after=100)
    assert sender(broker).send_due() == Sent()
    delays = seconds_to_go()
    assert all(100 <= delay <= 100 * (1 + SPREAD) + 0.1 for delay in delays)
    assert max(delays) - min(delays) > 1


def test_a_delivery_that_comes_twice_is_one_row_and_the_one_that_is_further_on_stays() -> None:
    fail(attempt=2)
    fail(attempt=3, after=10)
    fail(attempt=2)
    row = WaitingRetry.objects.get()
    assert row.attempt == 3
    assert seconds_to_go()[0] > 9


def test_the_same_event_from_a_replay_is_another_delivery() -> None:
    fail()
    fail(headers={"x-replay-id": "r1", "x-letter-id": 1})
    fail(headers={"x-replay-id": "r1", "x-letter-id": 2})
    fail(to="parcel.weigh")
    assert len(waiting()) == 4


def test_a_sick_queue_delays_its_own_retries_alone_and_longer_each_time() -> None:
    broker = SickBroker("parcel.full")
    for number in range(40):
        fail("parcel.full", b"%d" % number)
    fail("parcel.full", b"soon", after=0.1)
    fail("parcel.full", b"later", after=100)
    fail("parcel.well")
    assert sender(broker).send_due() == Sent(1, frozenset({"parcel.full"}))
    assert [sent.routing_key for sent in broker.sent] == ["parcel.well"]
    assert waiting() == [("parcel.full", 1)] * 41 + [("parcel.full", 0)]
    for _ in range(10):
        hurry(consumer="parcel.full", by="test")
        sender(broker).send_due()
    ((soonest, latest),) = fetch("SELECT min(due_at) - now(), max(due_at) - now() FROM waiting_retry")
    assert timedelta(seconds=25) < soonest == latest <= timedelta(seconds=60), "one refusal tells about all"

    broker.sick.clear()
    assert sender(broker).send_due() == Sent(), "it is not its time yet"
    hurry(by="test")
    assert sender(broker).send_due() == Sent(42)


def test_what_the_broker_does_not_confirm_stays() -> None:
    broker = StandInBroker()
    broker.down = True
    fail()
    with pytest.raises(Unconfirmed):
        sender(broker).send_due()
    assert waiting() == [("parcel.track", 0)]


def test_what_no_key_opens_delays_nothing_else(settings: Any) -> None:
    broker = StandInBroker()
    settings.SECRET_KEY = "another"
    fail("parcel.locked")
    settings.SECRET_KEY = "only for tests"
    fail("parcel.track")
    assert sender(broker).send_due() == Sent(1)
    assert waiting() == [("parcel.locked", 1)]


@pytest.fixture
def other_relay() -> Iterator[None]:
    """Another relay has what is due in its hands."""
    settings = connection.get_connection_params()
    names = ("host", "port", "dbname", "user", "password")
    with psycopg.connect(**{name: settings[name] for name in names if name in settings}) as other:
        fail("parcel.theirs")
        other.execute("SELECT FROM waiting_retry FOR UPDATE")
        yield
        other.rollback()


def test_relays_share_the_work(other_relay: None) -> None:
    broker = StandInBroker()
    fail("parcel.ours")
    assert sender(broker).send_due() == Sent(1)
    assert [sent.routing_key for sent in broker.sent] == ["parcel.ours"]


def test_a_large_backlog_goes_by_windows() -> None:
    broker = StandInBroker()
    for number in range(3):
        fail(body=bytes([number]) * 5_000_000)
    sending = sender(broker)
    assert [sending.send_due().retries for _ in range(3)] == [2, 1, 0]


class IdleRelay(Relay):
    """A relay with nothing to do, that does not sleep."""

    def __init__(self) -> None:
        super().__init__("amqp://")
        self.publisher = cast(CountingPublisher, StandInBroker())
        self.retries.publisher = self.publisher
        self._declared = True
        self.stop()

    def round(self) -> list[str]:
        """What it asks of the database in one round."""
        with CaptureQueriesContext(connection) as asked:
            assert self.publish_batch() == 0
            self._wait_for_work()
        return [each["sql"] for each in asked.captured_queries]


def test_an_idle_relay_learns_of_retries_by_a_query_that_it_makes_anyhow() -> None:
    relay = IdleRelay()
    relay.round()
    asked = relay.round()
    assert len([sql for sql in asked if "waiting_retry" in sql]) == 1
    assert len(asked) <= 8, asked


@settings(max_examples=60, deadline=None)
@given(
    headers=st.dictionaries(st.text(max_size=5) | st.just("é" * 200), anything, max_size=3),
    properties=st.dictionaries(st.sampled_from([*PROPERTIES, "content_type", "correlation_id"]), anything, max_size=3),
)
def test_whatever_strangers_wrote_can_be_kept_and_sent(headers: dict[str, Any], properties: dict[str, Any]) -> None:
    broker = StandInBroker()
    write(
        Outgoing("", "parcel.track", b"body", {**properties, "application_headers": headers}),
        after=0, attempt=1, first_failed_at=NOW, error="\x00\ud800", event_id=None, envelope=None,
    )  # fmt: skip
    sender(broker).send_due()
    (sent,) = broker.sent
    Message(sent.body, **sent.properties)._serialize_properties()
