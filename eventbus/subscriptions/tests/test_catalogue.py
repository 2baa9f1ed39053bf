"""Who listens to what, and when each last handled something."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from eventbus.declaration import CONSUMERS, consumer
from eventbus.subscriptions.activity import note_activity
from eventbus.subscriptions.catalogue import ConsumerEntry, consumer_entries, contract_entries
from eventbus.subscriptions.models import Subscription
from eventbus.subscriptions.noting import note_subscriptions
from eventbus.tests.builders import dead_letter, handled, happened, parcel
from eventbus.tests.samples import ParcelSent, ParcelTracked, track

pytestmark = pytest.mark.django_db


def known(name: str = track.name) -> ConsumerEntry:
    return next(each for each in consumer_entries() if each.name == name)


def heard_at() -> datetime | None:
    return Subscription.objects.get(consumer=track.name).heard_at


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def test_each_event_names_those_who_listen_and_says_where_nobody_does() -> None:
    found = {each.routing_key: (each.internal, each.consumers) for each in contract_entries()}
    assert found == {
        "parcel.sent.v1": (False, ("parcel.track", "parcel.track_all")),
        "parcel.tracked.v1": (False, ()),
        "parcel.weighed.v1": (True, ()),
    }


def test_a_consumer_shows_what_it_declares_and_what_became_of_it() -> None:
    happened(2)
    consumer("parcel.remember", on=[ParcelSent], ordered=True, start="beginning")(lambda event: None)
    note_subscriptions()
    dead_letter(parcel("p"))
    assert known().dead_letters == 1
    found = known("parcel.remember")
    assert found.traits == ["ordered", "from the beginning"]
    assert (found.since, found.backfill_progress) == ("the beginning", "running: 0 of 2")
    as_json = found.as_json()
    assert (as_json["process"], as_json["batch"], as_json["gone"]) == ("worker_parcel", 100, False)
    assert as_json["backfill"]["total"] == 2


def test_one_that_is_not_declared_any_more_is_gone() -> None:
    note_subscriptions()
    CONSUMERS.pop(track.name)
    found = known()
    assert (found.is_gone, found.is_quiet, found.routing_keys) == (True, False, ("parcel.sent.v1",))


def test_one_that_is_declared_and_not_subscribed_does_not_listen_yet() -> None:
    assert (known().since, known().is_quiet) == ("not yet", False)


def test_it_is_quiet_when_it_has_handled_nothing_for_long(settings: Any) -> None:
    settings.EVENTBUS_QUIET_DAYS = 3
    note_subscriptions()
    assert not known().is_quiet
    Subscription.objects.update(noted_at=days_ago(4))
    assert known().is_quiet
    Subscription.objects.update(heard_at=days_ago(2))
    assert not known().is_quiet
    Subscription.objects.update(heard_at=days_ago(4))
    assert known().is_quiet


def test_activity_is_noted_by_contract() -> None:
    two = consumer("parcel.two", on=[ParcelSent, ParcelTracked])(lambda event: None)
    note_subscriptions()
    note_activity()
    assert heard_at() is None
    handled(happened(1), by=two)
    note_activity()
    moments = dict(Subscription.objects.filter(consumer=two.name).values_list("routing_key", "heard_at"))
    assert moments["parcel.sent.v1"] is not None
    assert moments["parcel.tracked.v1"] is None
    assert heard_at() is None


def test_an_event_that_is_handled_after_the_next_search_is_noted_all_the_same() -> None:
    note_subscriptions()
    [late] = happened(1)
    note_activity()
    note_activity()
    handled([late])
    note_activity()
    assert heard_at() is not None


def test_a_search_begins_where_the_last_one_ended() -> None:
    note_subscriptions()
    ids = happened(1)
    handled(ids)
    Subscription.objects.update(looked_at=datetime.now(UTC) + timedelta(minutes=10))
    note_activity()
    assert heard_at() is None


def test_a_search_never_takes_back_what_was_noted() -> None:
    note_subscriptions()
    Subscription.objects.update(heard_at=days_ago(-1))
    handled(happened(1))
    note_activity()
    assert heard_at() > days_ago(-0.5)  # type: ignore[operator]


def test_the_command_shows_both_ways(capsys: Any) -> None:
    note_subscriptions()
    call_command("list_consumers", "--json")
    found = json.loads(capsys.readouterr().out)
    assert [each["consumer"] for each in found["consumers"]] == ["parcel.track", "parcel.track_all"]
    assert {each["type"] for each in found["events"]} == {"parcel.sent", "parcel.tracked", "parcel.weighed"}
    call_command("list_consumers", "--event", "parcel.tracked")
    shown = capsys.readouterr().out
    assert "nobody" in shown
    assert "parcel.track_all" not in shown
    with pytest.raises(CommandError, match=r"No event is called parcel\.lost") as refused:
        call_command("list_consumers", "--event", "parcel.lost")
    assert refused.value.returncode == 2
