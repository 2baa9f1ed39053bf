"""Which letters: the same filters for every command and page."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from eventbus.dead_letters.models import DeadLetter, DeadLetterState, ReplayState
from eventbus.declaration import CONSUMERS

#: An ended replay keeps its dead letters only until another one wants them: a driver that was killed right after it
#: claimed them never sent them.
ENDED = (ReplayState.CANCELLED, ReplayState.STOPPED, ReplayState.DONE)
#: Ids that are written down in a replay at most; the set itself is in its items.
MANY = 50
UNSETTLED = Q(state=DeadLetterState.OPEN) | Q(state=DeadLetterState.REPLAYING, replay__state__in=ENDED)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Filters that all hold at once; an empty one holds for every letter."""

    ids: Sequence[int] = ()
    groups: Sequence[str] = ()
    consumer: str = ""
    type: str = ""
    error: str = ""
    since: datetime | None = None
    until: datetime | None = None
    correlation_id: str = ""
    order: str = ""

    def letters(self) -> "QuerySet[DeadLetter]":
        """The letters for which every filter holds, in whatever state."""
        found = DeadLetter.objects.all()
        if self.ids:
            found = found.filter(pk__in=self.ids)
        if self.groups:
            found = found.filter(group__fingerprint__in=self.groups)
        if self.error:
            found = found.filter(Q(error_class__icontains=self.error) | Q(error_message__icontains=self.error))
        exact = {
            "consumer": self.consumer,
            "event_type": self.type,
            "failed_at__gte": self.since,
            "failed_at__lt": self.until,
            "correlation_id": self.correlation_id,
            "aggregate_id": self.order,
        }
        return found.filter(**{name: value for name, value in exact.items() if value})

    def unsettled(self) -> "QuerySet[DeadLetter]":
        """Those of them that wait for a person."""
        return self.letters().filter(UNSETTLED)

    def replayable(self) -> "QuerySet[DeadLetter]":
        """Those that a replay takes. Consumers with effects outside the database are left out unless they are named."""
        if self.ids or self.groups or self.consumer:
            return self.unsettled()
        outside = [each.name for each in CONSUMERS.values() if each.side_effects]
        return self.unsettled().exclude(consumer__in=outside)

    def described(self) -> dict[str, Any]:
        """The filters that are set, as JSON."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        if len(self.ids) > MANY:
            found["ids"] = f"{len(self.ids)} letters picked by hand"
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in found.items() if value
        }
