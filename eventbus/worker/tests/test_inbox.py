import json
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction

from eventbus.archive.models import ArchivedEvent
from eventbus.contracts.codec import decode
from eventbus.declaration import consumer
from eventbus.errors import InvalidEvent, Reason
from eventbus.recording.context import current_cause
from eventbus.testing.bus import deliver, delivered, on_the_wire
from eventbus.tests.samples import ParcelSent, track, track_all
from eventbus.worker import inbox
from eventbus.worker.models import ProcessedEvent

pytestmark = pytest.mark.django_db


def sent(parcel_id: str = "") -> ParcelSent:
    return delivered(ParcelSent(parcel_id=parcel_id or f"p-{uuid4()}"))


def effects(*events: ParcelSent) -> int:
    return ArchivedEvent.objects.filter(
        type="parcel.tracked", aggregate_id__in=[event.parcel_id for event in events]
    ).count()


def outcome(event: ParcelSent) -> tuple[str, int]:
    row = ProcessedEvent.objects.get(event_id=event.envelope.event_id, consumer="parcel.track")
    return row.outcome, row.attempts


def test_a_redelivered_event_has_one_effect() -> None:
    event = sent()
    assert deliver(event, to=track) == 1
    assert deliver(event, to=track) == 0
    assert effects(event) == 1


def test_each_consumer_has_its_own_effect() -> None:
    event = sent()
    assert deliver(event, to=track) == deliver(event, to=track_all) == 1
    assert effects(event) == 2


def test_a_batch_takes_only_what_is_new() -> None:
    old, new, twice = sent(), sent(), sent()
    deliver(old, to=track)
    assert deliver([twice, old, new, twice], to=track) == 2
    assert effects(old, new, twice) == 3


def impostor(event: ParcelSent) -> ParcelSent:
    """Another event under the id of this one."""
    return delivered(ParcelSent(parcel_id=f"p-{uuid4()}"), event_id=event.envelope.event_id)


def test_the_id_of_a_done_event_with_another_payload_is_no_duplicate() -> None:
    event = sent()
    deliver(event, to=track)
    with pytest.raises(InvalidEvent, match="another payload") as refused:
        deliver([sent(), impostor(event)], to=track)
    assert refused.value.reason == Reason.INVALID_ENVELOPE
    assert outcome(event) == ("done", 1)


def test_two_payloads_of_one_id_in_a_batch_are_told_apart() -> None:
    event = sent()
    with pytest.raises(InvalidEvent, match="another payload"):
        deliver([event, impostor(event)], to=track)
    assert effects(event) == 0


def test_the_same_event_laid_out_otherwise_is_a_duplicate() -> None:
    """A program that sends again what it is not sure of may write its JSON anew."""
    event = sent()
    deliver(event, to=track)
    raw = json.loads(on_the_wire(event, event_id=event.envelope.event_id, correlation_id="again"))
    raw["data"] = dict(reversed(raw["data"].items()))
    assert deliver(decode(json.dumps(raw, indent=4)), to=track) == 0


@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_bad_event_leaves_nothing_of_its_batch(position: int) -> None:
    batch = [sent(), sent()]
    batch.insert(position, sent(f"bad-{uuid4()}"))

    with pytest.raises(ValueError, match="can't be tracked"):
        deliver(batch, to=track)

    assert effects(*batch) == 0
    assert not ProcessedEvent.objects.filter(event_id__in=[event.envelope.event_id for event in batch]).exists()


def test_a_handler_of_lists_gets_the_new_ones_as_one_list() -> None:
    batches: list[Sequence[ParcelSent]] = []
    declared = consumer("parcel.gather", on=[ParcelSent], batched=True)(batches.append)
    old, first, second, alone = sent(), sent(), sent(), sent()
    deliver(old, to=declared)
    deliver([second, old, first], to=declared)
    deliver(alone, to=declared)
    assert batches == [[old], [second, first], [alone]]


def test_the_inbox_notes_the_attempt() -> None:
    event = sent()
    deliver(event, to=track, attempt=3)
    assert outcome(event) == ("done", 3)


def test_a_dead_letter_can_be_processed_later_once() -> None:
    event = sent()
    inbox.mark_dead(track, event.envelope.event_id, 4)
    assert outcome(event) == ("dead", 4)

    assert deliver(event, to=track, attempt=1) == 1
    assert deliver(event, to=track, attempt=1) == 0

    assert outcome(event) == ("done", 1)
    assert effects(event) == 1


def test_a_processed_event_is_never_marked_dead() -> None:
    event = sent()
    deliver(event, to=track)
    inbox.mark_dead(track, event.envelope.event_id, 4)
    assert outcome(event) == ("done", 1)
    assert deliver(event, to=track) == 0


def test_handlers_run_under_the_event_that_they_handle() -> None:
    seen: list[UUID | None] = []
    declared = consumer("parcel.cause", on=[ParcelSent])(lambda _: seen.append(current_cause().causation_id))
    events = [sent(), sent()]
    deliver(events, to=declared)
    assert seen == [event.envelope.event_id for event in events]


@pytest.mark.django_db(transaction=True)
def test_an_outside_effect_runs_outside_the_transaction_and_once() -> None:
    calls: list[bool] = []
    declared = consumer("parcel.call", on=[ParcelSent], side_effects=True)(
        lambda _: calls.append(connection.in_atomic_block)
    )
    event = sent()
    assert deliver(event, to=declared) == 1
    assert deliver(event, to=declared) == 0
    with pytest.raises(InvalidEvent, match="another payload"):
        deliver(impostor(event), to=declared)
    assert calls == [False]


@pytest.mark.django_db(transaction=True)
def test_an_outside_effect_that_fails_is_not_noted_as_done() -> None:
    def call(event: ParcelSent) -> None:
        raise ConnectionError("nobody answers")

    declared = consumer("parcel.call", on=[ParcelSent], side_effects=True)(call)
    event = sent()
    with pytest.raises(ConnectionError):
        deliver(event, to=declared)
    assert not ProcessedEvent.objects.filter(event_id=event.envelope.event_id).exists()


def test_what_a_handler_writes_commits_with_the_inbox_row() -> None:
    """Rolled back from outside, both are gone: they are in one transaction."""
    event = sent()
    undo = transaction.savepoint()
    deliver(event, to=track)
    transaction.savepoint_rollback(undo)
    assert effects(event) == 0
    assert deliver(event, to=track) == 1
