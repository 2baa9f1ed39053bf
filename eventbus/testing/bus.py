"""Helpers for tests of contracts and consumers: the real inbox path on a real database, without a broker."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast
from uuid import UUID

from django.db import connection, transaction

from eventbus.archive import retention
from eventbus.archive.models import ArchivedEvent
from eventbus.archive.partitions import month_start
from eventbus.conf import bus_settings
from eventbus.contracts.codec import decode, encode_envelope, from_row
from eventbus.contracts.event import Event
from eventbus.contracts.rows import WireFields
from eventbus.dead_letters.message import read_message
from eventbus.dead_letters.models import DeadLetter
from eventbus.dead_letters.store import ingest
from eventbus.declaration import Consumer
from eventbus.errors import Reason
from eventbus.ids import new_id
from eventbus.recording.publish import publish
from eventbus.relay.models import Outbox
from eventbus.retries.models import WaitingRetry
from eventbus.retries.writing import write
from eventbus.subscriptions.noting import note_subscriptions
from eventbus.worker import inbox
from eventbus.worker.delivery import Delivery
from eventbus.worker.failures import GiveUp, RetryLater, dead_message, retry_message

E = TypeVar("E", bound=Event)

# The archive lets nobody empty it, so its owner takes the right and the triggers' silence for as long as this takes.
EMPTY = """
DO $$ DECLARE part regclass; BEGIN
    GRANT TRUNCATE ON event TO CURRENT_USER;
    FOR part IN SELECT relid FROM pg_partition_tree('event') LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER event_is_not_truncated', part);
    END LOOP;
    TRUNCATE event, outbox, stream, processed_event;
    FOR part IN SELECT relid FROM pg_partition_tree('event') LOOP
        EXECUTE format('ALTER TABLE %s ENABLE TRIGGER event_is_not_truncated', part);
    END LOOP;
    REVOKE TRUNCATE ON event FROM CURRENT_USER;
END $$
"""


def on_the_wire(
    event: Event, *, event_id: UUID | None = None, correlation_id: str = "test", causation_id: UUID | None = None
) -> bytes:
    """The message body of an event, as the relay would send it."""
    return encode_envelope(
        WireFields(
            event_id=event_id or new_id(),
            event_type=event.type,
            version=event.version,
            aggregate_type=event.aggregate_type,
            aggregate_id=event.aggregate_id,
            sequence=1,
            occurred_at=datetime.now(UTC),
            correlation_id=correlation_id,
            causation_id=causation_id,
            user_id=None,
            data=event.data().decode(),
        )
    )


def delivered(event: E, **envelope: Any) -> E:
    """The event as a consumer sees it: decoded from the wire, with an envelope of its own."""
    result = decode(on_the_wire(event, **envelope))
    assert isinstance(result, type(event))
    return result


def deliver(event: Event | Sequence[Event], *, to: Consumer, attempt: int = 1) -> int:
    """Run events through a consumer's inbox, as one batch; returns how many were new.

    An event keeps its id between calls, so delivering it again is a redelivery.
    """
    events = [event] if isinstance(event, Event) else list(event)
    for each in events:
        if each._envelope is None:
            each._envelope = delivered(each).envelope
    return inbox.process(to, [inbox.Arrival(to.as_read(each), attempt) for each in events])


def recorded(*events: E) -> list[E]:
    """Publish events, and return them as their consumers would get them, numbered in their streams. Deliver them in any
    order to a consumer with `ordered=True`: it handles 1, 2, 3 …"""
    with transaction.atomic():
        ids = publish(*events)
    rows = ArchivedEvent.objects.in_bulk(ids)
    return [cast(E, from_row(rows[event_id].wire_fields)) for event_id in ids]


def published(contract: type[E]) -> list[E]:
    """What is archived of a contract, oldest first."""
    rows = ArchivedEvent.objects.filter(type=contract.type, version=contract.version).order_by("id")
    return [contract.model_validate(row.data) for row in rows]


def empty_bus() -> None:
    """Remove every event, as after a test that committed: Django empties only the tables that it manages."""
    with connection.cursor() as cursor:
        cursor.execute(EMPTY)


def prune_this_month() -> None:
    """Prune all that is archived by now, as if its time were over. What the test publishes after it stays."""
    Outbox.objects.all().delete()
    kept = [month.kept_because for month in prune_before(month_start(datetime.now(UTC), 1)) if month.kept_because]
    assert kept == []


def prune_before(moment: datetime) -> list[retention.Month]:
    """Prune the months that end before this moment, as if it were ARCHIVE_DAYS ago; returns them."""
    return list(retention.prune(moment + timedelta(days=bus_settings.ARCHIVE_DAYS)))


def from_archive(row: ArchivedEvent) -> Event:
    """An archived event as a consumer sees it."""
    return from_row(row.wire_fields)


def given_up(event_id: UUID, *, at: Consumer, error: str = "no", attempts: int = 4) -> DeadLetter:
    """The dead letter of an archived event, as if this consumer had given it up with a ValueError."""
    body = encode_envelope(ArchivedEvent.objects.get(pk=event_id).wire_fields)
    failed = Delivery(body, {"x-attempt": attempts})
    now = datetime.now(UTC)
    inbox.mark_dead(at, event_id, attempts)
    sent = dead_message(at, failed, GiveUp(Reason.EXHAUSTED), ValueError(error), now)
    headers = sent.properties["application_headers"]
    ingest([read_message(at.name, body, headers, {"message_id": str(event_id)}, now=now)])
    return DeadLetter.objects.get(consumer=at.name, event_id=event_id)


def put_off(event_id: UUID, *, at: Consumer, error: str = "no", seconds: float = 60) -> WaitingRetry:
    """The waiting retry of an archived event, as if its first attempt at this consumer had failed with a ValueError."""
    row = ArchivedEvent.objects.get(pk=event_id)
    body, now = encode_envelope(row.wire_fields), datetime.now(UTC)
    failed = Delivery(body, {}, {"message_id": str(event_id)})
    write(
        retry_message(at, failed, RetryLater(seconds, 2), ValueError(error), now),
        after=seconds,
        attempt=2,
        first_failed_at=now,
        error=f"ValueError: {error}",
        event_id=event_id,
        envelope=from_row(row.wire_fields).envelope,
    )
    return WaitingRetry.objects.get(consumer=at.name, event_id=event_id)


def subscribed() -> None:
    """Every declared consumer listens from now on, as it does once the topology is declared."""
    note_subscriptions()
