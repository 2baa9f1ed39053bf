"""An event goes out in every version that somebody reads, and is handled once by each."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from eventbus.broker.publisher import Outgoing
from eventbus.checks.contracts import held_versions_can_be_recorded
from eventbus.contracts.casting import CASTS, downcast, upcast
from eventbus.contracts.event import Event
from eventbus.contracts.registry import CONTRACTS
from eventbus.declaration import Consumer, consumer
from eventbus.heartbeats.models import Heartbeat
from eventbus.management.commands.bus_status import reading
from eventbus.monitoring.deliveries import balance
from eventbus.recording.publish import publish
from eventbus.relay import older_readers
from eventbus.relay.older_readers import matches, strangers
from eventbus.relay.relay import Relay
from eventbus.subscriptions.models import Subscription
from eventbus.subscriptions.noting import note_subscriptions, unheld
from eventbus.testing import ArchivedEvent, Outbox, ProcessedEvent
from eventbus.tests.builders import StandInBroker, archive_replay
from eventbus.worker import processing
from eventbus.worker.delivery import Delivery
from eventbus.worker.processing import run_batch, run_one

pytestmark = pytest.mark.django_db(transaction=True)


# As in samples: the real registry is put back.
with patch.dict(CONTRACTS):

    class BoatBuiltOne(Event, type="boat.built", version="1.0", aggregate="boat_id"):
        boat_id: str
        builder: str

    class BoatBuilt(Event, type="boat.built", version="2.0", aggregate="boat_id"):
        boat_id: str
        first: str
        last: str
        price: Decimal = Decimal(0)


def split(old: BoatBuiltOne) -> BoatBuilt:
    first, _, last = old.builder.partition(" ")
    return BoatBuilt(boat_id=old.boat_id, first=first, last=last)


def join(new: BoatBuilt) -> BoatBuiltOne:
    return BoatBuiltOne(boat_id=new.boat_id, builder=f"{new.first} {new.last}")


BOAT = BoatBuilt(boat_id="b-1", first="Ada", last="Lovelace", price=Decimal("9.90"))


class Shipyard:
    """A consumer of each version, what they have seen, and a relay whose broker routes as an exchange does."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self.new = consumer("boat.paint", on=[BoatBuilt])(lambda event: self.seen.append(event))
        self.ordered = consumer("boat.launch", on=[BoatBuilt], ordered=True)(lambda event: self.seen.append(event))
        self.broker = StandInBroker()
        self.relay = Relay("amqp://")
        self.relay.publisher = self.broker  # type: ignore[assignment]
        self.relay._declared = True

    @property
    def told(self) -> list[dict[str, Any]]:
        return [event.model_dump() for event in self.seen]

    def declare_old(self) -> Consumer[BoatBuiltOne]:
        return consumer("boat.list", on=[BoatBuiltOne])(lambda event: self.seen.append(event))

    def publish(self, *events: Event) -> list[Outgoing]:
        """Record events and relay them; returns the messages."""
        with transaction.atomic():
            publish(*events)
        while Outbox.objects.exists():
            self.relay.publish_batch()
        return self.broker.sent

    def delivered_to(self, to: Consumer) -> list[Delivery]:
        """What of it lies in the consumer's queue."""
        return [Delivery(each.body) for each in self.broker.sent if each.routing_key in to.routing_keys]


@pytest.fixture
def yard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shipyard]:
    monkeypatch.setattr(processing, "_send", lambda *messages: True)
    monkeypatch.setattr(older_readers, "bindings", list)
    CONTRACTS.update({("boat.built", "1"): BoatBuiltOne, ("boat.built", "2"): BoatBuilt})
    with patch.dict(CASTS):
        upcast(BoatBuiltOne, BoatBuilt)(split)
        downcast(BoatBuilt, BoatBuiltOne)(join)
        yield Shipyard()


def keys(sent: Sequence[Outgoing]) -> list[str]:
    return [each.routing_key for each in sent]


def test_while_nobody_reads_the_older_version_it_is_not_sent(yard: Shipyard) -> None:
    yard.relay.older.look()
    assert keys(yard.publish(BOAT)) == ["boat.built.v2"]


def test_a_consumer_of_the_older_version_gets_a_copy_in_it(yard: Shipyard) -> None:
    old = yard.declare_old()
    yard.relay.older.look()
    sent = yard.publish(BOAT)
    assert keys(sent) == ["boat.built.v2", "boat.built.v1"]
    assert len({each.properties["message_id"] for each in sent}) == 1
    assert sent[1].properties["application_headers"]["cloudEvents_dataschema"] == "/schemas/boat.built/1.0"

    [copy] = yard.delivered_to(old)
    assert run_one(old, copy) == 1
    assert yard.told == [{"boat_id": "b-1", "builder": "Ada Lovelace"}]
    # Straight from the archive, as after a replay or past a full queue, it comes in the version that was recorded.
    assert run_one(old, Delivery(sent[0].body)) == 0


@pytest.mark.parametrize("order", [[0, 1], [1, 0]], ids=["the event first", "the copy first"])
@pytest.mark.parametrize("together", [True, False])
def test_who_reads_the_newer_version_handles_the_whole_event_once(
    yard: Shipyard, order: list[int], together: bool
) -> None:
    yard.declare_old()
    yard.publish(BOAT)
    for each in (yard.new, yard.ordered):
        yard.seen.clear()
        messages = [yard.delivered_to(each)[place] for place in order]
        if together:
            assert run_batch(each, messages) == 1
        else:
            assert [run_one(each, message) for message in messages] == [1, 0]
        assert yard.told == [BOAT.model_dump()]
    assert set(ProcessedEvent.objects.values_list("outcome", flat=True)) == {"done"}


def test_an_event_of_the_older_version_is_read_as_the_newer(yard: Shipyard) -> None:
    yard.publish(BoatBuiltOne(boat_id="b-1", builder="Ada Lovelace"))
    assert keys(yard.broker.sent) == ["boat.built.v1"]
    for each in (yard.new, yard.ordered):
        [message] = yard.delivered_to(each)
        assert [run_one(each, message), run_one(each, message)] == [1, 0]
    assert [type(event) for event in yard.seen] == [BoatBuilt, BoatBuilt]
    assert {event.envelope.version for event in yard.seen} == {"1.0"}


def test_an_ordered_consumer_has_both_versions_of_a_stream_in_their_order(yard: Shipyard) -> None:
    yard.publish(BoatBuiltOne(boat_id="b-1", builder="Ada Lovelace"), BOAT)
    messages = yard.delivered_to(yard.ordered)
    assert [run_one(yard.ordered, message) for message in reversed(messages)] == [2, 0, 0][: len(messages)]
    assert [event.envelope.sequence for event in yard.seen] == [1, 2]


def test_the_archive_is_replayed_to_either(yard: Shipyard) -> None:
    old = yard.declare_old()
    yard.publish(BoatBuiltOne(boat_id="b-1", builder="Ada Lovelace"), BOAT)
    assert [archive_replay(to).total for to in (old, yard.new)] == [2, 2]


def test_the_audit_counts_an_event_once_whichever_version_it_was_recorded_in(yard: Shipyard) -> None:
    old = yard.declare_old()
    note_subscriptions()
    yard.publish(BoatBuiltOne(boat_id="b-1", builder="Ada Lovelace"), BOAT)
    assert {name: balance()[name] for name in (old.name, yard.new.name)} == {
        old.name: {"missing": 2},
        yard.new.name: {"missing": 2},
    }
    run_batch(old, yard.delivered_to(old))
    run_batch(yard.new, yard.delivered_to(yard.new))
    assert {name: balance()[name] for name in (old.name, yard.new.name)} == {
        old.name: {"done": 2},
        yard.new.name: {"done": 2},
    }


def test_while_old_code_is_at_work_it_is_recorded_as_that_knows_it(yard: Shipyard, settings: Any) -> None:
    settings.EVENTBUS_RECORD_AS = {"boat.built": "1"}
    assert keys(yard.publish(BOAT)) == ["boat.built.v1"]
    [row] = ArchivedEvent.objects.all()
    assert (row.version, row.data) == ("1.0", {"boatId": "b-1", "builder": "Ada Lovelace"})


def test_a_refused_copy_keeps_the_event_in_the_outbox(yard: Shipyard) -> None:
    yard.declare_old()
    yard.broker.takes = 1
    with transaction.atomic():
        publish(BOAT)
    yard.relay.publish_batch()
    assert Outbox.objects.get().blocked_key == "boat.built.v2"


def test_another_programs_queue_is_a_reader_where_it_gets_the_older_version_alone(
    yard: Shipyard, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = [("theirs", "boat.built.v1"), ("tap", "#"), ("boat.paint", "boat.built.v1"), ("modern", "boat.built.v2")]
    assert strangers(bound, "boat.built.v1", "boat.built.v2") == {"theirs"}
    monkeypatch.setattr(older_readers, "bindings", lambda: bound)
    yard.relay.older.look()
    assert keys(yard.publish(BOAT)) == ["boat.built.v2", "boat.built.v1"]


def test_where_the_broker_cannot_be_asked_somebody_may_be_there(
    yard: Shipyard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(older_readers, "bindings", lambda: None)
    yard.relay.older.look()
    assert keys(yard.publish(BOAT)) == ["boat.built.v2", "boat.built.v1"]


@pytest.mark.parametrize(
    ("pattern", "is_match"),
    [
        ("boat.built.v1", True), ("boat.built.v2", False), ("boat.*.v1", True), ("boat.*", False), ("#", True),
        ("boat.#", True), ("#.v1", True), ("boat.built.v1.#", True), ("*.*.*", True), ("*", False),
    ],
)  # fmt: skip
def test_a_topic_pattern_is_read_as_the_broker_reads_it(pattern: str, is_match: bool) -> None:
    assert matches(pattern, "boat.built.v1") is is_match


def test_what_cannot_be_recorded_is_refused_at_the_start(yard: Shipyard, settings: Any) -> None:
    for held, ids in (
        ({}, []),
        ({"boat.built": "1"}, []),
        ({"boat.built": "3"}, ["eventbus.E032"]),
        ({"boat.sunk": "1"}, ["eventbus.E032"]),
    ):
        settings.EVENTBUS_RECORD_AS = held
        assert [each.id for each in held_versions_can_be_recorded()] == ids


def test_a_new_major_version_is_not_let_in_beside_processes_that_do_not_know_it(yard: Shipyard, settings: Any) -> None:
    assert unheld() == []  # nothing was there before
    Subscription.objects.create(consumer=yard.new.name, routing_key="boat.built.v1")
    assert unheld() == []  # nobody is at work
    Heartbeat.objects.create(kind="web", host="h", pid=1, started_at=timezone.now(), beat_at=timezone.now())
    assert unheld() == ["boat.built"]
    with pytest.raises(CommandError, match=r"can't read the new major version of boat\.built"):
        call_command("declare_topology")
    settings.EVENTBUS_RECORD_AS = {"boat.built": "1"}
    assert unheld() == []
    note_subscriptions()
    settings.EVENTBUS_RECORD_AS = {}
    assert unheld() == []  # all that is at work has begun since


def test_the_status_names_who_reads_an_older_version(yard: Shipyard) -> None:
    yard.declare_old()
    bound = [("theirs", "boat.built.v1")]
    [found] = older_readers.older_readers(bound)
    assert reading(found) == "boat.built 1.0 is read by boat.list, theirs (another program's)"
    assert reading(replace(found, consumers=(), others=())) == "boat.built 1.0 is read by nobody any more"


def test_a_consumer_names_one_version_of_an_event() -> None:
    with pytest.raises(ValueError, match="two versions of one event"):
        consumer("boat.greedy", on=(BoatBuiltOne, BoatBuilt))
