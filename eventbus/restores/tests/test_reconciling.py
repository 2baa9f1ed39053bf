"""What becomes of events that a restored database has forgotten. tests/faults/test_restore.py has the whole story."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest

from eventbus.archive import begun_before_restore
from eventbus.archive.models import ArchivedEvent
from eventbus.db.sql import fetch
from eventbus.errors import PermanentFailure
from eventbus.ids import first_id_at, new_id
from eventbus.relay.models import Outbox
from eventbus.restores import hooks
from eventbus.restores.hooks import take_back
from eventbus.restores.models import Reconciliation
from eventbus.restores.queues import Forgotten
from eventbus.restores.reconciling import NO_CAUSE, NOBODY, Sorted, sort
from eventbus.testing.bus import on_the_wire
from eventbus.tests.builders import happened, publish_at
from eventbus.tests.samples import ParcelSent, ParcelTracked

pytestmark = pytest.mark.django_db


@pytest.fixture
def taken() -> Iterator[list[ParcelSent]]:
    """An app that takes parcels back, up to those that it refuses."""
    parcels: list[ParcelSent] = []

    def take(event: ParcelSent) -> None:
        if event.parcel_id == "unwanted":
            raise PermanentFailure("Nobody knows this parcel.")
        parcels.append(event)

    with patch.dict(hooks.TAKERS):
        take_back(ParcelSent)(take)
        yield parcels


def forgotten(*bodies: bytes) -> Forgotten:
    found = Forgotten()
    found.look_at(bodies, "parcel.track", datetime.now(UTC) - timedelta(minutes=1))
    return found


def sorted_out(*bodies: bytes) -> Sorted:
    return sort(forgotten(*bodies))


def sent(parcel_id: str, **envelope: Any) -> bytes:
    return on_the_wire(ParcelSent(parcel_id=parcel_id), **envelope)


def test_forgotten_is_what_is_younger_than_the_moment_and_not_in_the_archive() -> None:
    (known,) = happened()
    old = UUID(int=first_id_at(datetime.now(UTC) - timedelta(minutes=4)).int | (new_id().int & (2**80 - 1)))
    young = new_id()
    found = forgotten(sent("p", event_id=known), sent("p", event_id=old), sent("p", event_id=young), b"no event")
    assert list(found.events) == [young]
    assert found.named() == [f"parcel.sent {young} of parcel p: in parcel.track"]


def test_what_an_app_can_take_back_is_archived_under_its_id_and_sent(taken: list[ParcelSent]) -> None:
    event_id = new_id()
    result = sorted_out(sent("p-1", event_id=event_id))
    assert [event.envelope.event_id for event in result.taken_back] == [event_id]
    assert [parcel.parcel_id for parcel in taken] == ["p-1"]
    assert ArchivedEvent.objects.get(pk=event_id).aggregate_id == "p-1"
    assert list(Outbox.objects.values_list("event_id", flat=True)) == [event_id]


def test_what_the_app_refuses_leaves_nothing_behind(taken: list[ParcelSent]) -> None:
    event_id = new_id()
    ((event, why),) = sorted_out(sent("unwanted", event_id=event_id)).set_aside
    assert (event.envelope.event_id, why) == (event_id, "Nobody knows this parcel.")
    assert not ArchivedEvent.objects.filter(pk=event_id).exists()
    assert not Outbox.objects.exists()


def test_whose_number_another_event_has_by_now_is_for_people(taken: list[ParcelSent]) -> None:
    happened(parcel_id="p-1")
    ((_, why),) = sorted_out(sent("p-1")).set_aside
    assert "is number 1 of parcel p-1, and here that is event" in why
    assert taken == []


def test_what_nobody_takes_back_is_for_people() -> None:
    assert [why for _, why in sorted_out(sent("p-1")).set_aside] == [NOBODY]


def test_what_follows_from_something_that_comes_again_is_made_again(taken: list[ParcelSent]) -> None:
    (kept,) = happened()
    cause = new_id()
    tracked = ParcelTracked(parcel_id="p-1")
    result = sorted_out(
        on_the_wire(tracked, correlation_id="taken back", causation_id=cause),
        sent("p-1", event_id=cause, correlation_id="taken back"),
        on_the_wire(tracked, correlation_id=story_of(kept), causation_id=kept),
        on_the_wire(tracked, correlation_id="lost", causation_id=new_id()),
    )
    assert len(result.made_again) == 2
    assert [why for _, why in result.set_aside] == [NO_CAUSE]


def story_of(event_id: UUID) -> str:
    return ArchivedEvent.objects.get(pk=event_id).correlation_id


def test_a_story_from_before_the_restore_is_told_from_a_later_one() -> None:
    old = publish_at(new_id())
    asked = f"SELECT {begun_before_restore('%s')}"
    assert fetch(asked, [story_of(old)]) == [(False,)], "nothing was restored"
    Reconciliation.objects.create(timeline=2, first_id=new_id())
    assert fetch(asked, [story_of(old)]) == [(True,)]
    assert fetch(asked, ["another"]) == [(False,)]
