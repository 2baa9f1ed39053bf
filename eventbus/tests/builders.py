"""What the bus's tests are told with: parcels, consumers, dead letters, replays, and a stand-in for the broker."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Unpack
from uuid import UUID, uuid4

from django.db import connection, transaction
from hypothesis import strategies as st

from eventbus.archive.models import ArchivedEvent
from eventbus.broker.publisher import Outgoing, Unconfirmed
from eventbus.contracts.codec import decode
from eventbus.contracts.event import Event
from eventbus.dead_letters.message import DeadMessage, read_message
from eventbus.dead_letters.models import DeadLetter
from eventbus.dead_letters.replay_driver import DeadLetterReplayDriver
from eventbus.dead_letters.store import ingest
from eventbus.declaration import Consumer, Options, consumer
from eventbus.errors import Reason
from eventbus.recording.publish import publish
from eventbus.replays import runs
from eventbus.replays.models import ArchiveReplay
from eventbus.replays.selection import Selection
from eventbus.retries.models import WaitingRetry
from eventbus.retries.writing import write
from eventbus.testing.bus import on_the_wire
from eventbus.tests.samples import ParcelSent, track
from eventbus.worker import failures, inbox
from eventbus.worker.delivery import Delivery
from eventbus.worker.failures import GiveUp, RetryLater
from eventbus.worker.models import ProcessedEvent
from eventbus.worker.processing import read

NOW = datetime(2025, 3, 1, 12, 30, tzinfo=UTC)


class StandInBroker:
    """Takes a publisher's place: keeps what is sent to its one queue, which may be full, missing or away."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.waiting: int | None = 0
        self.takes = 1_000_000
        self.down = False

    def send(self, window: Sequence[Outgoing]) -> set[int]:
        if self.down:
            raise Unconfirmed("no answer")
        taken = set(range(len(window))[: self.takes])
        self.sent += [each for place, each in enumerate(window) if place in taken]
        return taken

    def waiting_in(self, queue: str) -> int | None:
        return self.waiting

    def close(self) -> None:
        pass

    def heartbeat(self) -> None:
        pass

    @property
    def ids(self) -> list[UUID]:
        return [UUID(each.properties["message_id"]) for each in self.sent]


def declare(name: str = "parcel.fast", **options: Unpack[Options]) -> Consumer[ParcelSent]:
    """A consumer of parcels that does nothing."""
    return consumer(name, on=[ParcelSent], **options)(lambda event: None)


def parcel(parcel_id: str = "p-1") -> bytes:
    """The message body of a parcel that was sent."""
    return on_the_wire(ParcelSent(parcel_id=parcel_id))


def happened(number: int = 1, *, event: Callable[..., Event] = ParcelSent, parcel_id: str = "") -> list[UUID]:
    """This many events in the archive that the relay has published."""
    with transaction.atomic():
        ids = publish(*(event(parcel_id=parcel_id or f"p-{uuid4()}") for _ in range(number)))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM outbox")
    return ids


def publish_at(event_id: UUID) -> UUID:
    """Archive an event of this id, as its stream's only one."""
    ArchivedEvent.objects.create(
        id=event_id, type="parcel.sent", version="1.0", aggregate_type="parcel", aggregate_id=str(event_id),
        sequence=1, occurred_at=datetime.now(UTC), correlation_id="c", data={},
    )  # fmt: skip
    return event_id


def handled(ids: Sequence[UUID], by: Consumer = track) -> None:
    """The consumer's inbox has these events as done."""
    with connection.cursor() as cursor:
        cursor.execute(inbox.CLAIM, [by.name, list(ids), [1] * len(ids), [None] * len(ids)])


def dead_message(
    body: bytes | None = None,
    *,
    to: Consumer = track,
    at: datetime = NOW,
    reason: str = Reason.EXHAUSTED,
    error: str = "no",
    **headers: Any,
) -> DeadMessage:
    """What the ingester reads where a worker gave a delivery up."""
    body = parcel(f"p-{uuid4()}") if body is None else body
    sent = failures.dead_message(to, Delivery(body), GiveUp(Reason(reason)), fail(error), at)
    return read_message(
        to.name, body, sent.properties["application_headers"] | headers, {"message_id": str(uuid4())}, now=at
    )


def fail(message: str) -> Exception:
    """An error that went through code of ours."""
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


def dead_letter(body: bytes | None = None, **options: Any) -> DeadLetter:
    """One that is stored. Options as for dead_message()."""
    ingest([dead_message(body, **options)])
    return DeadLetter.objects.select_related("group").latest("pk")


def waiting_retry(
    *,
    consumer: str = track.name,
    body: bytes | None = None,
    headers: dict[str, Any] | None = None,
    error: str = "ValueError: no",
    attempt: int = 2,
    after: float = 0,
) -> WaitingRetry:
    """A delivery that failed and comes again after so many seconds."""
    body = parcel(f"p-{uuid4()}") if body is None else body
    envelope = decode(body).envelope
    failed = Delivery(body, headers or {}, {"message_id": str(envelope.event_id)})
    message = failures.retry_message(track, failed, RetryLater(after, attempt), ValueError("no"), NOW)
    write(
        replace(message, routing_key=consumer),
        after=after,
        attempt=attempt,
        first_failed_at=NOW,
        error=error,
        event_id=envelope.event_id,
        envelope=envelope,
    )
    return WaitingRetry.objects.latest("pk")


def outcome_of(letter: DeadLetter) -> str:
    """What its consumer's inbox says of its event."""
    assert letter.event_id is not None
    return ProcessedEvent.objects.get(event_id=letter.event_id, consumer=letter.consumer).outcome


def driver_with(broker: StandInBroker) -> DeadLetterReplayDriver:
    """A driver of dead-letter replays that sends to this broker."""
    driver = DeadLetterReplayDriver("amqp://")
    driver.publisher = broker  # type: ignore[assignment]
    return driver


def handle(outgoing: Outgoing) -> int:
    """What the consumer does with a dead letter that comes back to it."""
    delivery = Delivery(outgoing.body, outgoing.properties["application_headers"])
    return inbox.process(track, [inbox.Arrival(read(track, delivery), delivery.attempt)])


def archive_replay(to: Consumer = track, rate: float | None = None, **filters: Any) -> ArchiveReplay:
    """One that was started."""
    replay = runs.start_replay(runs.plan_replay(to, Selection(**filters)), by="ada", rate=rate)
    assert replay is not None
    return replay


#: Whatever a stranger may put into a header.
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=40) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
