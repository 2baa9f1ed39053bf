import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus.contracts.codec import decode
from eventbus.db.crypto import UnreadablePayload, decrypt, derive
from eventbus.dead_letters.message import read_message
from eventbus.dead_letters.models import DeadLetter, DeadLetterGroup, DeadLetterHour
from eventbus.dead_letters.store import ingest
from eventbus.testing.bus import deliver, on_the_wire
from eventbus.tests.builders import NOW, anything, dead_message, outcome_of, parcel
from eventbus.tests.samples import ParcelSent, track
from eventbus.worker import inbox
from eventbus.worker.inbox import Arrival
from eventbus.worker.models import ProcessedEvent

pytestmark = pytest.mark.django_db


def test_a_letter_tells_all_that_is_known_of_it() -> None:
    body = on_the_wire(ParcelSent(parcel_id="p-1"), correlation_id="c-1")
    ingest([dead_message(body)])
    found = DeadLetter.objects.get()
    assert (found.consumer, found.event_type, found.aggregate_id) == ("parcel.track", "parcel.sent", "p-1")
    assert (found.correlation_id, str(found.event_id)) == ("c-1", json.loads(body)["eventId"])
    assert (found.reason, found.error_class, found.error_message) == ("exhausted", "builtins.ValueError", "no")
    assert "raise ValueError(message)" in found.traceback
    assert found.attempts == [{"attempt": 1, "at": NOW.isoformat(), "error": "ValueError: no"}]
    assert (found.failed_at, found.state, found.code_version) == (NOW, "open", "unknown")
    assert timedelta(days=13, hours=23) < found.drop_at - datetime.now(UTC) <= timedelta(days=14)


def test_the_payload_is_encrypted_at_rest() -> None:
    body = on_the_wire(ParcelSent(parcel_id="secret-parcel"))
    ingest([dead_message(body)])
    stored = bytes(DeadLetter.objects.get().body)
    assert b"secret" not in stored
    assert decrypt(stored) == body


def test_keys_rotate(settings: Any) -> None:
    old, new = derive("old"), derive("new")
    settings.EVENTBUS_DEAD_LETTER_KEYS = [old]
    ingest([dead_message(b"kept")])
    settings.EVENTBUS_DEAD_LETTER_KEYS = [new, old]
    assert decrypt(DeadLetter.objects.get().body) == b"kept"
    settings.EVENTBUS_DEAD_LETTER_KEYS = [new]
    with pytest.raises(UnreadablePayload, match="DEAD_LETTER_KEYS"):
        decrypt(DeadLetter.objects.get().body)


def test_a_letter_that_comes_twice_is_stored_once() -> None:
    twice = dead_message()
    assert ingest([twice, twice]) == 1
    assert ingest([twice]) == 0
    found = DeadLetter.objects.get()
    assert (found.arrivals, found.group.seen) == (1, 1)


def test_a_second_failure_of_the_same_delivery_updates_its_letter() -> None:
    body = parcel("p-1")
    ingest([dead_message(body)])
    ingest([dead_message(body, at=NOW + timedelta(minutes=1), error="no again")])
    found = DeadLetter.objects.get()
    assert (found.error_message, found.failed_at, found.arrivals) == ("no again", NOW + timedelta(minutes=1), 2)


def test_a_late_copy_does_not_reopen_what_is_settled() -> None:
    late = dead_message()
    ingest([late])
    DeadLetter.objects.update(state="discarded")
    ingest([late])
    assert [each.state for each in DeadLetter.objects.all()] == ["discarded"]


def test_what_fails_after_its_letter_was_settled_is_a_new_letter() -> None:
    body = parcel("p-1")
    ingest([dead_message(body)])
    DeadLetter.objects.update(state="discarded")
    ingest([dead_message(body, at=NOW + timedelta(minutes=1))])
    assert sorted(each.state for each in DeadLetter.objects.all()) == ["discarded", "open"]


def test_like_failures_are_one_group_and_others_are_not() -> None:
    ingest([dead_message(error="a"), dead_message(error="b"), dead_message(b"no json", reason="not_json")])
    by_seen = {group.seen: group for group in DeadLetterGroup.objects.all()}
    # All of this file's errors are raised in one function; a letter's message makes no group.
    assert by_seen.keys() == {3}
    assert by_seen[3].place == "eventbus/tests/builders.py:fail"
    ingest([read_message("parcel.track", b"?", {}, {}, now=NOW)])
    assert DeadLetterGroup.objects.count() == 2


def test_letters_are_counted_by_the_hour() -> None:
    ingest([dead_message(), dead_message(), dead_message(at=NOW + timedelta(hours=1))])
    hours = DeadLetterHour.objects.order_by("hour").values_list("hour", "letters")
    assert list(hours) == [(NOW.replace(minute=0), 2), (NOW.replace(hour=13, minute=0), 1)]


@pytest.mark.parametrize(("minutes", "state"), [(-1, "resolved"), (1, "regressed")])
def test_a_group_regresses_only_by_what_fails_after_it_was_resolved(minutes: int, state: str) -> None:
    ingest([dead_message()])
    DeadLetterGroup.objects.update(state="resolved", resolved_at=NOW)
    ingest([dead_message(at=NOW + timedelta(minutes=minutes))])
    assert DeadLetterGroup.objects.get().state == state


def test_a_letter_whose_event_is_handled_by_another_delivery_says_so() -> None:
    event = ParcelSent(parcel_id="p-1")
    deliver_later = on_the_wire(event)
    ingest([dead_message(deliver_later)])
    assert outcome_of(DeadLetter.objects.get()) == "dead"
    assert inbox.process(track, [Arrival(decode(deliver_later))]) == 1
    found = DeadLetter.objects.get()
    assert (found.state, found.settled_by) == ("replayed", "another delivery")


def test_a_letter_that_comes_after_its_event_was_handled_is_born_settled() -> None:
    event = ParcelSent(parcel_id="p-1")
    deliver(event, to=track)
    ingest([dead_message(on_the_wire(event, event_id=event.envelope.event_id))])
    assert DeadLetter.objects.get().state == "replayed"


def test_what_could_not_be_read_says_nothing_of_the_event_that_it_names() -> None:
    event = ParcelSent(parcel_id="p-1")
    deliver(event, to=track)
    ingest([dead_message(on_the_wire(event, event_id=event.envelope.event_id), reason="invalid_data")])
    assert DeadLetter.objects.get().state == "open"
    assert ProcessedEvent.objects.get(event_id=event.envelope.event_id).outcome == "done"


def test_a_delivery_that_killed_its_workers_says_so_by_the_brokers_own_word() -> None:
    deaths = [
        {"queue": "orders.wait.1000ms", "reason": "expired", "count": 2},
        {"queue": "parcel.track", "reason": "delivery_limit", "count": 1},
    ]
    ingest([read_message("parcel.track", parcel("p-1"), {"x-death": deaths}, {}, now=NOW)])
    found = DeadLetter.objects.get()
    assert found.reason == "kills_its_worker"
    assert "delivery limit" in found.error_message
    assert outcome_of(found) == "dead"


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "9999-12-31", "never"])
def test_a_time_that_nobody_can_have_written_in_good_faith_is_stored_all_the_same(since: str) -> None:
    headers = {"x-first-failed-at": since, "x-failed-at": since}
    ingest([read_message("parcel.track", parcel("p-1"), headers, {}, now=NOW)])
    assert DeadLetter.objects.count() == 1


KNOWN = [
    *("x-dead-reason", "x-error-class", "x-error-message", "x-traceback", "x-error-place", "x-code-version"),
    *("x-attempt", "x-attempts", "x-first-failed-at", "x-failed-at", "x-replay-id", "x-letter-id", "x-death"),
]


@settings(max_examples=60, deadline=None)
@given(
    body=st.binary(max_size=200) | st.dictionaries(st.text(), anything, max_size=4).map(repr).map(str.encode),
    headers=st.dictionaries(st.sampled_from(KNOWN) | st.text(), anything, max_size=8),
    properties=st.dictionaries(st.sampled_from(["message_id", "type", "correlation_id", "timestamp"]), anything),
)
def test_whatever_anybody_sends_is_stored(body: bytes, headers: dict[str, Any], properties: dict[str, Any]) -> None:
    sent = read_message("parcel.track", body, headers, properties, now=NOW)
    ingest([sent])
    assert decrypt(DeadLetter.objects.filter(body_hash=sent.body_hash).latest("pk").body) == body
