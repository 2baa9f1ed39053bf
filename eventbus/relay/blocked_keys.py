"""What the broker refuses: a full queue blocks its routing keys, and no others.

A refused event stays in the outbox, marked with its routing key, and so do later events of its aggregate. Each key is
tried again by itself, with one event first: what another queue of the same key takes meanwhile is a duplicate there.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from eventbus.backoff import backoff
from eventbus.broker.publisher import Outgoing


@dataclass(frozen=True, slots=True)
class Claimed:
    """An outbox row in a relay's hands. `behind`: the key for which an earlier event of its aggregate waits; `older`:
    the same event for those who know older versions only."""

    position: int
    aggregate_id: str
    message: Outgoing
    behind: str | None = None
    older: tuple[Outgoing, ...] = ()

    @property
    def messages(self) -> tuple[Outgoing, ...]:
        return self.message, *self.older

    @property
    def key(self) -> str:
        return self.message.routing_key


def behind_blocked(claimed: Sequence[Claimed], refused: Collection[int]) -> dict[int, str]:
    """The places that may not leave the outbox yet, each with the routing key that it waits for.

    Those are the refused, and whatever follows one of them in its aggregate: it is sent again behind it, since a
    duplicate is harmless and a gap in the order is not.
    """
    waits: dict[str, str] = {}
    found = {}
    for place, each in enumerate(claimed):
        key = waits.get(each.aggregate_id) or each.behind or (each.key if place in refused else None)
        if key is not None:
            waits[each.aggregate_id] = found[place] = key
    return found


@dataclass
class BlockedKey:
    """A routing key, or a full queue, that was refused: when it is tried again, and with how many events."""

    window: int = 1
    failures: int = 0
    retry_at: float = 0.0

    def refused(self, taken: int) -> float:
        """The broker took only this many: pause, longer each time that it takes none. Returns the seconds."""
        self.failures = 0 if taken else self.failures + 1
        self.window = max(1, taken)
        pause = backoff(self.failures, longest=15.0)
        self.retry_at = monotonic() + pause
        return pause

    def accepted(self, limit: int) -> None:
        """The broker took all: go on at once with twice as many."""
        self.failures, self.retry_at = 0, 0.0
        self.window = min(limit, self.window * 2)


@dataclass
class BlockedKeys:
    """The routing keys, or the full queues, for which this relay's events wait."""

    by_key: dict[str, BlockedKey] = field(default_factory=dict)

    def __contains__(self, key: str) -> bool:
        return key in self.by_key

    def __getitem__(self, key: str) -> BlockedKey:
        return self.by_key.setdefault(key, BlockedKey())

    def learn(self, keys: Iterable[str]) -> None:
        """Try these too, those that are new here at once."""
        for key in keys:
            self.by_key.setdefault(key, BlockedKey())

    def forget(self, key: str) -> None:
        self.by_key.pop(key, None)

    def due(self) -> list[str]:
        now = monotonic()
        return [key for key, each in self.by_key.items() if each.retry_at <= now]

    def seconds_to_next(self, at_most: float) -> float:
        """How long until one of them is due."""
        if not self.by_key:
            return at_most
        return min(at_most, max(0.0, min(each.retry_at for each in self.by_key.values()) - monotonic()))
