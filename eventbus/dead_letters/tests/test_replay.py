import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from amqp import Message
from django.db import connection
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus.broker.publisher import Outgoing, Unconfirmed
from eventbus.db.crypto import decrypt
from eventbus.dead_letters import replays
from eventbus.dead_letters.message import read_message
from eventbus.dead_letters.models import DeadLetter, DeadLetterReplay, DeadLetterReplayItem
from eventbus.dead_letters.replay_driver import (
    DeadLetterReplayDriver,
    Lease,
    Tally,
    as_message,
    fails_too_often,
    room,
    tally_of,
)
from eventbus.dead_letters.replays import start_replay
from eventbus.dead_letters.selection import Selection
from eventbus.dead_letters.store import ingest
from eventbus.declaration import consumer
from eventbus.leases import RunRefused
from eventbus.tests.builders import StandInBroker, anything, dead_message, driver_with, handle
from eventbus.tests.samples import ParcelSent, track
from eventbus.worker.delivery import PASSED_ON, Delivery
from eventbus.worker.inbox import Arrival, process
from eventbus.worker.processing import read

pytestmark = pytest.mark.django_db


@pytest.fixture
def broker() -> StandInBroker:
    return StandInBroker()


@pytest.fixture
def driver(broker: StandInBroker) -> DeadLetterReplayDriver:
    return driver_with(broker)


def store(number: int) -> list[DeadLetter]:
    ingest([dead_message() for _ in range(number)])
    return list(DeadLetter.objects.order_by("pk"))


def start(**options: Any) -> DeadLetterReplay:
    replay = start_replay(Selection(), by="ada", **options)
    assert replay is not None
    return replay


def fail_again(outgoing: Outgoing) -> None:
    headers = outgoing.properties["application_headers"]
    kept = {name: headers[name] for name in ("x-replay-id", "x-letter-id")}
    ingest([dead_message(bytes(outgoing.body), at=timezone.now(), error="no again", **kept)])  # type: ignore[arg-type]


def states(replay: DeadLetterReplay) -> list[str]:
    return list(DeadLetterReplayItem.objects.filter(replay=replay).order_by("place").values_list("outcome", flat=True))


def test_it_begins_with_one_letter_then_ten_then_the_rest(
    driver: DeadLetterReplayDriver, broker: StandInBroker
) -> None:
    store(30)
    replay = start()
    for expected in (1, 11, 30):
        driver.step(replay.pk)
        driver.step(replay.pk)
        assert len(broker.sent) == expected
        for outgoing in broker.sent:
            handle(outgoing)
    driver.step(replay.pk)
    replay.refresh_from_db()
    assert (replay.state, states(replay)) == ("done", ["replayed"] * 30)
    assert {each.state for each in DeadLetter.objects.all()} == {"replayed"}


def test_a_letter_goes_to_its_one_consumer_as_if_never_tried(
    driver: DeadLetterReplayDriver, broker: StandInBroker
) -> None:
    (one,) = store(1)
    replay = start()
    driver.step(replay.pk)
    (outgoing,) = broker.sent
    assert (outgoing.exchange, outgoing.routing_key) == ("", "parcel.track")
    headers = outgoing.properties["application_headers"]
    assert headers == {"x-attempt": 1, "x-replay-id": str(replay.pk), "x-letter-id": one.pk, "x-single-try": 1}


def test_only_the_first_letters_get_a_single_try(driver: DeadLetterReplayDriver, broker: StandInBroker) -> None:
    store(12)
    replay = start()
    for _ in range(3):
        driver.step(replay.pk)
        for outgoing in broker.sent:
            handle(outgoing)
    single = ["x-single-try" in outgoing.properties["application_headers"] for outgoing in broker.sent]
    assert single == [True] * 11 + [False]


def test_it_stops_when_the_first_letter_fails_again(driver: DeadLetterReplayDriver, broker: StandInBroker) -> None:
    store(5)
    replay = start()
    driver.step(replay.pk)
    fail_again(broker.sent[0])
    driver.step(replay.pk)
    replay.refresh_from_db()
    assert (replay.state, replay.note) == ("stopped", "1 of 1 failed again.")
    assert {each.state for each in DeadLetter.objects.all()} == {"open"}
    assert states(replay) == ["failed", *["waiting"] * 4]
    first = DeadLetter.objects.earliest("pk")
    assert (first.error_message, first.arrivals, len(first.attempts)) == ("no again", 2, 2)


def test_a_stopped_replay_goes_on_with_what_it_has_not_sent(
    driver: DeadLetterReplayDriver, broker: StandInBroker
) -> None:
    store(3)
    replay = start()
    driver.step(replay.pk)
    fail_again(broker.sent[0])
    driver.step(replay.pk)

    replays.resume_replay(replay.pk, by="ada")
    for _ in range(3):
        driver.step(replay.pk)
        for outgoing in broker.sent[1:]:
            handle(outgoing)
    replay.refresh_from_db()
    assert (replay.state, states(replay)) == ("done", ["failed", "replayed", "replayed"])


def test_what_fails_after_the_start_is_not_in_the_set() -> None:
    store(2)
    replay = start()
    store(1)
    assert replay.total == 2


def test_a_letter_is_in_one_replay_at_a_time() -> None:
    store(2)
    start()
    assert start_replay(Selection(), by="bob") is None


def test_a_paused_replay_sends_nothing_and_keeps_its_letters(
    driver: DeadLetterReplayDriver, broker: StandInBroker
) -> None:
    store(3)
    replay = start()
    replays.pause_replay(replay.pk, by="ada")
    driver.step(replay.pk)
    assert broker.sent == []
    assert start_replay(Selection(), by="bob") is None
    replays.resume_replay(replay.pk, by="ada")
    driver.step(replay.pk)
    assert len(broker.sent) == 1


def test_a_cancelled_replay_opens_what_it_has_not_sent(driver: DeadLetterReplayDriver, broker: StandInBroker) -> None:
    store(3)
    replay = start()
    driver.step(replay.pk)
    replays.cancel_replay(replay.pk, by="ada")
    assert states(replay) == ["waiting", "cancelled", "cancelled"]
    assert [each.state for each in DeadLetter.objects.order_by("pk")] == ["replaying", "open", "open"]
    handle(broker.sent[0])
    assert states(replay)[0] == "replayed"


def test_a_replay_that_ended_can_neither_be_paused_nor_resumed(
    driver: DeadLetterReplayDriver, broker: StandInBroker
) -> None:
    store(1)
    replay = start()
    replays.cancel_replay(replay.pk, by="ada")
    with pytest.raises(RunRefused, match="cancelled"):
        replays.resume_replay(replay.pk, by="ada")
    with pytest.raises(RunRefused, match="no replay"):
        replays.pause_replay(uuid4(), by="ada")


def test_replaying_an_event_twice_has_one_effect(driver: DeadLetterReplayDriver, broker: StandInBroker) -> None:
    store(1)
    replay = start()
    driver.step(replay.pk)
    assert [handle(broker.sent[0]), handle(broker.sent[0])] == [1, 0]


def test_a_driver_that_died_is_followed_by_another_which_sends_again(
    driver: DeadLetterReplayDriver, broker: StandInBroker
) -> None:
    store(2)
    replay = start()
    driver.step(replay.pk)
    other = StandInBroker()
    follower = driver_with(other)
    follower.step(replay.pk)
    assert other.sent == []

    DeadLetterReplay.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    follower.step(replay.pk)
    assert [each.properties["message_id"] for each in other.sent] == [broker.sent[0].properties["message_id"]]


def test_after_an_interruption_nothing_counts_as_sent(
    driver: DeadLetterReplayDriver, broker: StandInBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "close", lambda: None)  # the test's transaction lives on it
    store(1)
    replay = start()
    broker.down = True
    with pytest.raises(Unconfirmed):
        driver.step(replay.pk)
    broker.down = False
    driver.recover(Unconfirmed(), 0)
    driver.step(replay.pk)
    assert len(broker.sent) == 1


def test_a_full_queue_keeps_the_letters_waiting_and_says_so(
    driver: DeadLetterReplayDriver, broker: StandInBroker
) -> None:
    store(1)
    replay = start()
    broker.takes = 0
    driver.step(replay.pk)
    replay.refresh_from_db()
    assert "parcel.track" in replay.note
    assert tally_of(replay.pk) == Tally(unsent=1, in_flight=0, replayed=0, failed=0)
    broker.takes = 1000
    assert not driver.step(replay.pk), "it knocks again only after a while"
    driver._next_at.clear()
    assert driver.step(replay.pk)


def test_the_rate_is_kept(
    driver: DeadLetterReplayDriver, broker: StandInBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("eventbus.leases.monotonic", lambda: clock[0])
    store(60)
    replay = start(rate=10)
    for _ in range(200):
        driver.step(replay.pk)
        for outgoing in broker.sent:
            handle(outgoing)
        clock[0] += 0.01
    assert 15 <= len(broker.sent) <= 26  # two seconds, in portions of half a second


def test_what_was_handled_meanwhile_is_not_sent(driver: DeadLetterReplayDriver, broker: StandInBroker) -> None:
    (one,) = store(1)
    DeadLetter.objects.update(reason="invalid_data")
    replay = start()
    process(track, [Arrival(read(track, Delivery(_body(one))), 1)])
    DeadLetter.objects.update(state="replaying")
    DeadLetterReplayItem.objects.update(outcome="waiting")
    driver.step(replay.pk)
    assert broker.sent == []
    assert states(replay) == ["replayed"]


def _body(one: DeadLetter) -> bytes:
    return decrypt(one.body)


def test_a_letter_that_no_key_opens_fails_and_the_others_go(
    driver: DeadLetterReplayDriver, broker: StandInBroker
) -> None:
    first, _ = store(2)
    DeadLetter.objects.filter(pk=first.pk).update(body=b"\x80not encrypted by us")
    replay = start(threshold=1.0)
    for _ in range(3):
        driver.step(replay.pk)
        for outgoing in broker.sent:
            handle(outgoing)
    assert states(replay) == ["failed", "replayed"]
    assert "DEAD_LETTER_KEYS" in DeadLetterReplayItem.objects.get(outcome="failed").error
    assert DeadLetter.objects.get(pk=first.pk).state == "open"


def test_consumers_with_outside_effects_are_left_out_unless_named() -> None:
    consumer("parcel.call", on=[ParcelSent], side_effects=True)(lambda _: None)
    store(1)
    DeadLetter.objects.update(consumer="parcel.call")
    assert start_replay(Selection(), by="ada") is None
    assert start_replay(Selection(consumer="parcel.call"), by="ada") is not None


@given(
    headers=st.dictionaries(st.text() | st.just("cloudEvents_x") | st.text().map("cloudEvents{}".format), anything),
    properties=st.dictionaries(st.sampled_from(PASSED_ON), anything | st.text(min_size=200, alphabet="\x00")),
)
@settings(max_examples=80, deadline=None)
def test_whatever_was_stored_can_be_sent(headers: dict[str, Any], properties: dict[str, Any]) -> None:
    read = read_message("parcel.track", b"{}", headers, properties, now=timezone.now())
    outgoing = as_message(
        "parcel.track", uuid4(), 7, b"{}", json.dumps(read.properties), json.dumps(read.headers), False
    )
    assert Message(outgoing.body, **outgoing.properties)._serialize_properties()


@pytest.mark.parametrize(
    ("tally", "before", "expected"),
    [
        (Tally(unsent=99, in_flight=0, replayed=0, failed=0), 0, 1),
        (Tally(unsent=98, in_flight=1, replayed=0, failed=0), 0, 0),
        (Tally(unsent=98, in_flight=0, replayed=1, failed=0), 0, 10),
        (Tally(unsent=90, in_flight=4, replayed=3, failed=2), 0, 2),
        (Tally(unsent=80, in_flight=0, replayed=6, failed=5), 0, 2000),
        (Tally(unsent=80, in_flight=1990, replayed=60, failed=0), 0, 10),
        (Tally(unsent=80, in_flight=0, replayed=60, failed=0), 60, 1),
    ],
)
def test_room(tally: Tally, before: int, expected: int) -> None:
    assert room(tally, before) == expected


@pytest.mark.parametrize(
    ("replayed", "failed", "threshold", "stops"),
    [
        (0, 0, 0.0, False),
        (0, 1, 0.5, True),
        (1, 1, 0.5, False),
        (1, 2, 0.5, True),
        (9, 1, 0.0, True),
        (0, 9, 1.0, False),
    ],
)
def test_the_threshold(replayed: int, failed: int, threshold: float, stops: bool) -> None:
    lease = Lease(uuid4(), None, threshold, 0, 0)
    assert fails_too_often(Tally(0, 0, replayed, failed), lease) is stops
