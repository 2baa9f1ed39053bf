"""Which archived events: the same filters for the command and the page."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from eventbus.contracts.registry import CONTRACTS
from eventbus.contracts.versions import event_type_of
from eventbus.declaration import Consumer
from eventbus.errors import EventbusError
from eventbus.ids import FROM_THE_START, first_id_at


class SelectionError(EventbusError):
    """The filters make no sense for this consumer; the message says why."""


class SideEffectsUnconfirmed(SelectionError):
    """The consumer reaches outside the database, and nobody has said that it may."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Filters that all hold at once; an empty one holds for every event that the consumer listens to.

    `since` and `until` go by the time in the event's id, which is when it was published.
    """

    types: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    aggregate_id: str = ""
    correlation_id: str = ""

    def routing_keys(self, consumer: Consumer) -> list[str]:
        """What the consumer listens to, of the types chosen. Raises SelectionError for a type that it doesn't."""
        known_types = {contract.type for contract in consumer.on}
        if strange := [kind for kind in self.types if kind not in known_types]:
            known = {contract.type for contract in CONTRACTS.values()}
            missing = [kind for kind in strange if kind not in known]
            why = f"No event is called {', '.join(missing)}." if missing else ""
            raise SelectionError(
                f"{consumer.name} does not listen to {', '.join(strange)}. {why} It listens to "
                f"{', '.join(sorted(known_types))}.".replace("  ", " ")
            )
        chosen = self.types or known_types
        return [key for key in consumer.reads if event_type_of(key) in chosen]

    @property
    def after(self) -> UUID:
        """The id behind which the selection begins."""
        return UUID(int=max(0, first_id_at(self.since).int - 1)) if self.since else FROM_THE_START

    def before(self, newest: UUID) -> UUID:
        """The last id that the selection may hold, of an archive whose newest event is this."""
        return min(newest, UUID(int=max(0, first_id_at(self.until).int - 1))) if self.until else newest

    def described(self) -> dict[str, Any]:
        """The filters that are set, as JSON."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in found.items() if value
        }
