"""Events and their outcomes put together: who published what because of what."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from eventbus.conf import bus_settings
from eventbus.contracts.event import Event
from eventbus.contracts.registry import CONTRACTS
from eventbus.contracts.rows import WireFields
from eventbus.contracts.versions import major
from eventbus.declaration import CONSUMERS
from eventbus.traces.outcomes import TracedDelivery


@dataclass(frozen=True, slots=True)
class TracedEvent:
    """An event, what became of it, and what came of it.

    `caused` has the events that it led to: by the consumer that published them, by "" where that can't be said.
    `internal`: it was sent to nobody.
    """

    row: WireFields
    internal: bool
    deliveries: Sequence[TracedDelivery] = ()
    caused: dict[str, list["TracedEvent"]] = field(default_factory=dict)

    @property
    def id(self) -> UUID:
        return self.row.event_id

    @property
    def type(self) -> str:
        return self.row.event_type

    @property
    def at(self) -> datetime:
        return self.row.occurred_at

    def as_json(self) -> dict[str, Any]:
        """For machines. What a payload says is not in it: the archive has that."""
        return {
            "eventId": str(self.id),
            "eventType": self.type,
            "version": self.row.version,
            "aggregateType": self.row.aggregate_type,
            "aggregateId": self.row.aggregate_id,
            "sequence": self.row.sequence,
            "occurredAt": self.at.isoformat(),
            "correlationId": self.row.correlation_id,
            "causationId": str(self.row.causation_id) if self.row.causation_id else None,
            "userId": self.row.user_id,
            "internal": self.internal,
            "deliveries": [delivery.as_json() for delivery in self.deliveries],
        }


@dataclass(frozen=True, slots=True)
class Story:
    """All events of a thing or of a correlation id, in order. `is_cut`: there are more than were read."""

    events: Sequence[TracedEvent]
    roots: Sequence[TracedEvent]
    is_cut: bool = False

    @property
    def deliveries(self) -> Iterable[TracedDelivery]:
        return (delivery for event in self.events for delivery in event.deliveries)

    @property
    def is_under_way(self) -> bool:
        """Whether something will still happen by itself."""
        return any(delivery.is_moving for delivery in self.deliveries)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "underWay": self.is_under_way,
            "cut": self.is_cut,
            "events": [event.as_json() for event in self.events],
        }


def tell(rows: Sequence[WireFields], found: Mapping[UUID, Sequence[TracedDelivery]], *, is_cut: bool = False) -> Story:
    """Put events, sorted by id, and their outcomes together."""
    events = {row.event_id: TracedEvent(row, _is_internal(row), found.get(row.event_id, ())) for row in rows}
    roots = []
    for event in events.values():
        cause = events.get(event.row.causation_id) if event.row.causation_id else None
        if cause is None:
            roots.append(event)
        else:
            cause.caused.setdefault(_publisher(event, cause), []).append(event)
    return Story(tuple(events.values()), tuple(roots), is_cut)


def _contract(row: WireFields) -> type[Event] | None:
    """Its class. What was archived long ago may have none any more."""
    return CONTRACTS.get((row.event_type, major(row.version)))


def _is_internal(row: WireFields) -> bool:
    contract = _contract(row)
    return contract is not None and contract.internal


def _publisher(event: TracedEvent, cause: TracedEvent) -> str:
    """Which consumer published an event while it handled its cause. An event does not say so, but the code does: one of
    the app that the contract is declared in. "" where there is none or more than one that it may have been."""
    home = _home(_contract(event.row))
    able = [each for each in cause.deliveries if home and home == _home(_handler(each.consumer))]
    if len(able) > 1:
        # It published within its transaction.
        able = [each for each in able if _may_have_published(each, event.at)]
    return able[0].consumer if len(able) == 1 else ""


def _handler(name: str) -> Any:
    consumer = CONSUMERS.get(name)
    return consumer.handler if consumer else None


def _home(declared: Any) -> str:
    """The app that a class or function belongs to; of the small consumers each file is one."""
    module = str(getattr(declared, "__module__", ""))
    app = module.partition(".")[0]
    return module if app == bus_settings.SMALL_CONSUMERS else app


def _may_have_published(delivery: TracedDelivery, moment: datetime) -> bool:
    if delivery.began_at is None or delivery.began_at - timedelta(milliseconds=5) > moment:
        return False
    return delivery.ended_at is None or moment <= delivery.ended_at
