import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from eventbus.archive.models import ArchivedEvent
from eventbus.contracts.codec import decode, encode_envelope
from eventbus.db.crypto import decrypt, encrypt
from eventbus.dead_letters import queries, services
from eventbus.dead_letters.dry_run import DryRunRefused, dry_run
from eventbus.dead_letters.models import DeadLetter, DeadLetterGroup, DeadLetterReplayItem
from eventbus.dead_letters.retention import drop, dropped_soon, prune
from eventbus.dead_letters.selection import Selection
from eventbus.dead_letters.services import EditRefused, discard, edit_and_replay
from eventbus.dead_letters.store import ingest
from eventbus.declaration import consumer
from eventbus.recording.publish import publish
from eventbus.relay.models import Outbox
from eventbus.testing.bus import deliver, on_the_wire
from eventbus.tests.builders import StandInBroker, dead_letter, dead_message, driver_with, handle, outcome_of, parcel
from eventbus.tests.samples import ParcelSent, track
from eventbus.worker.inbox import Arrival, process
from eventbus.worker.models import ProcessedEvent

pytestmark = pytest.mark.django_db


def test_a_discarded_letter_keeps_the_reason_and_the_person() -> None:
    one = dead_letter()
    assert discard(Selection(ids=[one.pk]), reason="a test order", by="ada") == 1
    one.refresh_from_db()
    assert (one.state, one.discard_reason, one.settled_by) == ("discarded", "a test order", "ada")
    assert discard(Selection(ids=[one.pk]), reason="again", by="bob") == 0


def test_a_letter_is_not_discarded_without_a_reason() -> None:
    dead_letter()
    with pytest.raises(ValueError, match="why"):
        discard(Selection(), reason=" ", by="ada")


def test_what_an_ordered_consumer_kept_behind_a_discarded_letter_goes_on() -> None:
    handled: list[int] = []
    declared = consumer("parcel.follow", on=[ParcelSent], ordered=True)(
        lambda event: handled.append(event.envelope.sequence)
    )
    first, second = publish(*two_of_one_parcel())
    bodies = {event_id: archived(event_id) for event_id in (first, second)}
    ingest([dead_message(bodies[first], to=declared)])
    deliver_body(declared, bodies[second])
    assert handled == []
    Outbox.objects.all().delete()

    discard(Selection(), reason="never existed", by="ada")

    assert list(Outbox.objects.values_list("event_id", flat=True)) == [second]
    deliver_body(declared, bodies[second])
    assert handled == [2]
    assert ProcessedEvent.objects.get(event_id=first).outcome == "discarded"


def test_a_letter_that_is_replayed_before_the_one_it_stands_behind_waits_for_it() -> None:
    handled: list[int] = []
    declared = consumer("parcel.follow", on=[ParcelSent], ordered=True)(
        lambda event: handled.append(event.envelope.sequence)
    )
    bodies = [archived(event_id) for event_id in publish(*two_of_one_parcel())]
    ingest([dead_message(body, to=declared) for body in bodies])
    deliver_body(declared, bodies[1])
    assert handled == []
    deliver_body(declared, bodies[0])
    assert handled == [1, 2]
    assert {each.state for each in DeadLetter.objects.all()} == {"replayed"}


def two_of_one_parcel() -> list[ParcelSent]:
    return [ParcelSent(parcel_id=f"p-{uuid4()}")] * 2


def archived(event_id: UUID) -> bytes:
    return encode_envelope(ArchivedEvent.objects.get(pk=event_id).wire_fields)


def deliver_body(declared: Any, body: bytes) -> None:
    process(declared, [Arrival(decode(body))])


def test_an_edited_payload_is_sent_in_the_letters_place_and_the_original_stays() -> None:
    body = parcel("bad-1")
    one = dead_letter(body)
    mended = body.replace(b"bad-1", b"good-1")
    replay = edit_and_replay(one, mended.decode(), by="ada")
    broker = StandInBroker()
    driver_with(broker).step(replay.pk)
    assert broker.sent[0].body == mended
    assert handle(broker.sent[0]) == 1
    one.refresh_from_db()
    assert (one.state, decrypt(one.body)) == ("replayed", body)
    item = DeadLetterReplayItem.objects.select_related("edit").get()
    assert item.edit is not None
    assert item.edit.edited_by == "ada"
    assert '+    "parcelId": "good-1",' in queries.diff(one, item.edit)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b'"parcelId":"p-1"', b'"parcelId":[]', "invalid_data"),
        (b'"parcelId":"p-1"', b'"parcelId":"p-1', "not_json"),
        (b"parcel.sent", b"parcel.lost", "unknown_type"),
        (b"parcel.sent", b"parcel.tracked", "not_subscribed"),
    ],
)
def test_an_edited_payload_that_does_not_fit_its_contract_does_not_go(
    before: bytes, after: bytes, message: str
) -> None:
    body = parcel()
    one = dead_letter(body)
    with pytest.raises(EditRefused, match=message):
        edit_and_replay(one, body.replace(before, after).decode(), by="ada")
    one.refresh_from_db()
    assert one.state == "open"


def test_an_edit_cannot_pass_for_another_event() -> None:
    one = dead_letter(parcel())
    with pytest.raises(EditRefused, match="eventId must stay"):
        edit_and_replay(one, parcel().decode(), by="ada")


def test_garbage_can_be_mended_into_an_event() -> None:
    one = dead_letter(b"{}", reason="invalid_envelope")
    DeadLetter.objects.update(event_id=None)
    one.refresh_from_db()
    replay = edit_and_replay(one, parcel().decode(), by="ada")
    broker = StandInBroker()
    driver_with(broker).step(replay.pk)
    assert handle(broker.sent[0]) == 1
    one.refresh_from_db()
    assert one.state == "replayed"


def test_trying_shows_what_would_happen_and_leaves_nothing() -> None:
    one = dead_letter(parcel(f"p-{uuid4()}"))
    trial = dry_run(one)
    assert trial.verdict == "works"
    assert [event["type"] for event in trial.published] == ["parcel.tracked"]
    assert not ArchivedEvent.objects.filter(aggregate_id=one.aggregate_id).exists()
    one.refresh_from_db()
    assert one.state == "open"
    assert outcome_of(one) == "dead"


def test_trying_shows_how_it_fails() -> None:
    trial = dry_run(dead_letter(parcel("bad-1")))
    assert (trial.verdict, trial.error) == ("fails", "ValueError: bad-1 can't be tracked")
    assert "in track" in trial.traceback


def test_trying_what_was_handled_does_nothing() -> None:
    event = ParcelSent(parcel_id="p-1")
    deliver(event, to=track)
    assert dry_run(dead_letter(on_the_wire(event, event_id=event.envelope.event_id))).verdict == "already handled"


def test_what_reaches_outside_the_database_cannot_be_tried() -> None:
    consumer("parcel.call", on=[ParcelSent], side_effects=True)(lambda _: None)
    one = dead_letter(parcel())
    one.consumer = "parcel.call"
    with pytest.raises(DryRunRefused, match="rolled back"):
        dry_run(one)


def days_old(days: float) -> None:
    DeadLetter.objects.update(drop_at=timezone.now() + timedelta(days=14 - days))


def test_an_open_letter_is_warned_of_before_it_is_dropped() -> None:
    dead_letter()
    days_old(11.9)
    assert prune() == (0, 0)
    days_old(12.1)
    assert prune() == (1, 0)
    assert prune() == (0, 0)
    days_old(14.1)
    assert prune() == (0, 0), "the warning is not two days old"
    DeadLetter.objects.update(warned_at=timezone.now() - timedelta(days=2, minutes=1))
    assert prune() == (0, 1)
    assert not DeadLetter.objects.exists()
    assert DeadLetterGroup.objects.get().seen == 1


def test_open_letters_near_their_end_are_counted_until_somebody_sees_to_them() -> None:
    dead_letter()
    days_old(11.9)
    assert dropped_soon() == {}
    days_old(12.1)
    dead_letter(b"a young one")
    assert dropped_soon() == {"parcel.track": 1}
    discard(Selection(), reason="x", by="ada")
    assert dropped_soon() == {}


def test_a_letter_that_was_never_warned_of_stays_however_old() -> None:
    dead_letter()
    days_old(100)
    assert prune() == (1, 0)
    assert DeadLetter.objects.count() == 1


def test_a_settled_letter_is_dropped_at_its_end_without_a_warning() -> None:
    dead_letter()
    discard(Selection(), reason="x", by="ada")
    days_old(13)
    assert drop() == 0
    days_old(14.1)
    assert prune() == (0, 1)


def test_resolved_groups_can_be_opened_again() -> None:
    group = dead_letter().group
    assert services.resolve_group(group, by="ada")
    assert not services.resolve_group(group, by="bob")
    group.refresh_from_db()
    assert (group.state, group.resolved_by) == ("resolved", "ada")
    assert services.reopen_group(group)


def test_a_payload_is_shown_with_its_digits_as_they_came() -> None:
    one = dead_letter(b'{"amount":10.00,"name":"\xc3\xa9"}')
    assert queries.payload(one) == '{\n  "amount": 10.00,\n  "name": "é"\n}'
    one.body = encrypt(b"\xff\x00 no json")
    assert queries.payload(one) == "\\xff\x00 no json"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    call_command(*arguments, "--json")
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    "filters",
    [
        ("--consumer", "parcel.track"),
        ("--type", "parcel.sent"),
        ("--error", "valueerror"),
        ("--error", "look at me"),
        ("--order", "p-1"),
        ("--correlation-id", "c-1"),
        ("--since", "2025-03-01T12:00"),
        ("--until", "1m"),
        (),
    ],
)
def test_every_filter_finds_what_it_says(filters: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    dead_letter(on_the_wire(ParcelSent(parcel_id="p-1"), correlation_id="c-1"), error="look at me")
    assert run(capsys, "list_dead_letters", *filters)["total"] == 1


@pytest.mark.parametrize(
    "filters",
    [
        ("--consumer", "parcel.track_all"),
        ("--type", "x"),
        ("--error", "TypeError"),
        ("--order", "p-2"),
        ("--correlation-id", "c-2"),
        ("--since", "1m"),
        ("--until", "2025-03-01T12:00"),
        ("--id", "0"),
        ("--state", "replayed"),
    ],
)
def test_and_nothing_else(filters: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    dead_letter(on_the_wire(ParcelSent(parcel_id="p-1"), correlation_id="c-1"))
    assert run(capsys, "list_dead_letters", *filters)["total"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["list_dead_letters", "--consumer", "nobody.here"], 2, "No consumer"),
        (["list_dead_letters", "--group", "nogroup"], 2, "No group"),
        (["show_dead_letter", "0"], 1, "no dead letter 0"),
        (["replay_dead_letters"], 2, "give a filter, or --all"),
        (["replay_dead_letters", "--all"], 1, "No dead letter that waits"),
        (["replay_dead_letters", "--pause", str(uuid4())], 2, "no replay"),
        (["discard_dead_letters", "--reason", "x"], 2, "give a filter, or --all"),
        (["discard_dead_letters", "--reason", " ", "--all"], 2, "Say why"),
        (["discard_dead_letters", "--reason", "x", "--all"], 1, "No dead letter that waits"),
    ],
)
def test_commands_end_with_a_code_and_say_what_to_do(arguments: list[str], code: int, says: str) -> None:
    with pytest.raises(CommandError, match=says) as refused:
        call_command(*arguments)
    assert refused.value.returncode == code


def test_a_dry_run_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    one = dead_letter()
    assert run(capsys, "replay_dead_letters", "--all", "--dry-run")["matched"] == 1
    assert run(capsys, "discard_dead_letters", "--all", "--dry-run", "--reason", "x") == {"discarded": 0, "matched": 1}
    one.refresh_from_db()
    assert one.state == "open"


def test_a_letter_is_shown_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    one = dead_letter(parcel())
    call_command("show_dead_letter", str(one.pk))
    shown = capsys.readouterr().out
    for part in ("parcel.track", "ValueError", "raise ValueError(message)", '"parcelId": "p-1"', one.group.fingerprint):
        assert part in shown


def test_a_group_is_listed_with_what_is_open(capsys: pytest.CaptureFixture[str]) -> None:
    dead_letter()
    (group,) = run(capsys, "list_dead_letters", "--groups")["groups"]
    assert (group["open"], group["seen"], group["state"]) == (1, 1, "open")
