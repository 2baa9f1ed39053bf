"""Whether an event had come to a consumer by some moment."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from eventbus.archive.progress import under_way
from eventbus.recording.publish import publish
from eventbus.relay.models import Outbox
from eventbus.tests.samples import ParcelSent, track
from eventbus.worker.models import ProcessedEvent

pytestmark = pytest.mark.django_db

SOON = timedelta(seconds=1)


def sent() -> tuple[str, UUID]:
    """A parcel, and the event that says that it was sent. It is in the outbox."""
    parcel_id = f"p-{uuid4()}"
    with transaction.atomic():
        (event_id,) = publish(ParcelSent(parcel_id=parcel_id))
    return parcel_id, event_id


def waits(parcel_id: str, by: datetime | None = None) -> bool:
    return parcel_id in under_way([parcel_id, "another"], to=[track.name], by=by or datetime.now(UTC) + SOON)


def handled(event_id: UUID, at: datetime, outcome: str = "done") -> None:
    ProcessedEvent.objects.create(event_id=event_id, consumer=track.name, processed_at=at, outcome=outcome)


def test_what_is_not_published_is_under_way_however_far_the_consumer_is() -> None:
    parcel_id, _ = sent()
    _, later = sent()
    handled(later, datetime.now(UTC))
    assert waits(parcel_id)
    Outbox.objects.all().delete()
    assert not waits(parcel_id)


def test_what_the_consumer_has_not_come_to_is_under_way() -> None:
    _, earlier = sent()
    parcel_id, _ = sent()
    Outbox.objects.all().delete()
    assert waits(parcel_id)
    handled(earlier, datetime.now(UTC))
    assert waits(parcel_id)


@pytest.mark.parametrize("outcome", ["done", "dead"])
def test_what_it_has_handled_or_given_up_is_under_way_no_more_from_that_moment_on(outcome: str) -> None:
    parcel_id, event_id = sent()
    Outbox.objects.all().delete()
    at = datetime.now(UTC) + timedelta(hours=1)
    handled(event_id, at, outcome)
    assert waits(parcel_id, by=at - SOON)
    assert not waits(parcel_id, by=at)


def test_an_id_from_the_future_says_nothing_of_how_far_it_is() -> None:
    parcel_id, _ = sent()
    Outbox.objects.all().delete()
    handled(UUID("ffffffff-ffff-7fff-bfff-ffffffffffff"), datetime.now(UTC))
    assert waits(parcel_id)
