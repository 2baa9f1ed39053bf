"""A retry that somebody gives up is a dead letter, and nothing of it is lost."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from eventbus.db.crypto import decrypt
from eventbus.dead_letters.cancelling import cancel
from eventbus.dead_letters.models import DeadLetter, DeadLetterReplayItem
from eventbus.dead_letters.replays import start_replay
from eventbus.dead_letters.selection import Selection
from eventbus.retries.models import WaitingRetry
from eventbus.tests.builders import StandInBroker, driver_with, handle, outcome_of, waiting_retry
from eventbus.tests.samples import track

pytestmark = pytest.mark.django_db


def test_a_cancelled_retry_is_a_dead_letter_that_says_who_and_what_had_failed() -> None:
    retry = waiting_retry(error="ValueError: the shelf is gone", attempt=3)
    assert cancel(ids=[retry.pk], by="ada") == 1
    letter = DeadLetter.objects.get()
    assert (letter.consumer, letter.reason, letter.event_id) == (track.name, "cancelled", retry.event_id)
    assert letter.error_message == (
        "Cancelled by ada before attempt 3. The last one failed: ValueError: the shelf is gone"
    )
    assert decrypt(letter.body) == decrypt(retry.body)
    assert letter.first_failed_at == retry.first_failed_at
    assert [each["attempt"] for each in letter.attempts] == [1]
    assert outcome_of(letter) == "dead"
    assert not WaitingRetry.objects.exists()


def test_it_can_be_replayed() -> None:
    waiting_retry()
    cancel(by="ada")
    broker = StandInBroker()
    replay = start_replay(Selection(), by="ada")
    assert replay is not None
    driver_with(broker).step(replay.pk)
    (outgoing,) = broker.sent
    assert handle(outgoing) == 1
    assert DeadLetter.objects.get().state == "replayed"


def test_a_retry_of_a_replay_goes_back_to_it_as_failed() -> None:
    waiting_retry()
    cancel(by="ada")
    letter = DeadLetter.objects.get()
    replay = start_replay(Selection(), by="ada")
    assert replay is not None
    broker = StandInBroker()
    driver_with(broker).step(replay.pk)
    waiting_retry(body=decrypt(letter.body), headers=broker.sent[0].properties["application_headers"])
    cancel(by="grace")
    letter.refresh_from_db()
    assert (letter.state, letter.arrivals) == ("open", 2)
    assert DeadLetterReplayItem.objects.get().outcome == "failed"


def test_only_what_was_chosen_is_cancelled() -> None:
    mine, other = waiting_retry(), waiting_retry(consumer="parcel.gone")
    assert cancel(consumer="parcel.gone", by="ada") == 1
    assert list(WaitingRetry.objects.all()) == [mine]
    assert DeadLetter.objects.get().event_id == other.event_id


def run(*arguments: str, capsys: Any) -> Any:
    call_command(*arguments, "--json")
    return json.loads(capsys.readouterr().out)


def test_the_commands_list_hurry_and_cancel(capsys: Any) -> None:
    retry, other = waiting_retry(after=600), waiting_retry(consumer="parcel.gone", after=600)
    listed = run("waiting_retries", capsys=capsys)
    assert listed["total"] == 2
    shown = {each["id"]: each for each in listed["retries"]}
    assert UUID(shown[retry.pk]["eventId"]) == retry.event_id
    assert datetime.fromisoformat(shown[retry.pk]["dueAt"]) == retry.due_at
    assert (shown[retry.pk]["gone"], shown[other.pk]["gone"]) == (False, True)
    assert run("waiting_retries", "--consumer", track.name, capsys=capsys)["total"] == 1

    assert run("hurry_retries", "--id", str(retry.pk), capsys=capsys) == {"hurried": 1}
    hurried = WaitingRetry.objects.get(pk=retry.pk)
    assert hurried.due_at < retry.due_at

    assert run("cancel_retries", "--consumer", "parcel.gone", "--dry-run", capsys=capsys)["matched"] == 1
    assert run("cancel_retries", "--consumer", "parcel.gone", capsys=capsys) == {"cancelled": 1, "matched": 1}
    assert WaitingRetry.objects.get() == retry

    call_command("waiting_retries")
    assert "1 of 1 waiting retries" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["hurry_retries", "cancel_retries"])
def test_a_slip_changes_nothing(command: str) -> None:
    waiting_retry(after=600)
    for arguments, advice in (([], "give a filter"), (["--consumer", "parcel.typo"], "No consumer is called")):
        with pytest.raises(CommandError, match=advice) as refusal:
            call_command(command, *arguments)
        assert refusal.value.returncode == 2
    with pytest.raises(CommandError, match="No retry that waits"):
        call_command(command, "--id", "0")
    assert WaitingRetry.objects.count() == 1
