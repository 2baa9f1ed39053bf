"""Who listens to what: read from the declarations, so that it can't drift, and beside it how each consumer is doing."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Min
from django.utils import timezone

from eventbus.conf import bus_settings
from eventbus.contracts.registry import CONTRACTS
from eventbus.contracts.versions import event_type_of
from eventbus.dead_letters.models import DeadLetter, DeadLetterState
from eventbus.declaration import CONSUMERS, Consumer
from eventbus.replays.models import ArchiveReplay
from eventbus.subscriptions.models import Subscription
from eventbus.subscriptions.noting import EPOCH


@dataclass(frozen=True)
class Listening:
    """Since when a consumer listens (1970: it got the whole archive), when that was noted, and its last activity."""

    since: datetime
    noted_at: datetime
    heard_at: datetime | None


@dataclass(frozen=True)
class ConsumerEntry:
    """A consumer: what it declares, and what is known of it. Nothing is declared of one that is gone from the code."""

    name: str
    declared: Consumer | None
    routing_keys: tuple[str, ...]
    subscribed: Listening | None
    dead_letters: int
    backfill: ArchiveReplay | None

    @property
    def is_gone(self) -> bool:
        return self.declared is None

    @property
    def is_quiet(self) -> bool:
        """Whether it has listened for long and handled nothing."""
        if self.is_gone or self.subscribed is None:
            return False
        last = self.subscribed.heard_at or self.subscribed.noted_at
        return timezone.now() - last > timedelta(days=bus_settings.QUIET_DAYS)

    @property
    def heard_at(self) -> datetime | None:
        return self.subscribed.heard_at if self.subscribed else None

    @property
    def since(self) -> str:
        """Since when it listens, for people."""
        if self.subscribed is None:
            return "not yet"
        return "the beginning" if self.subscribed.since == EPOCH else f"{self.subscribed.since:%Y-%m-%d %H:%M}"

    @property
    def traits(self) -> list[str]:
        """What its declaration asks for beside the usual, in words."""
        if self.declared is None:
            return []
        found = {
            "ordered": self.declared.ordered,
            "batched": self.declared.batched,
            "side effects": self.declared.side_effects,
            "from the beginning": self.declared.start == "beginning",
            f"builds {', '.join(self.declared.tables)}": bool(self.declared.tables),
        }
        return [word for word, holds in found.items() if holds]

    @property
    def backfill_progress(self) -> str:
        """How far its backfill is; "" where there was none."""
        return f"{self.backfill.state}: {self.backfill.sent} of {self.backfill.total}" if self.backfill else ""

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        declared = self.declared
        return {
            "consumer": self.name,
            "contracts": list(self.routing_keys),
            "gone": self.is_gone,
            "quiet": self.is_quiet,
            "listeningSince": self.subscribed.since.isoformat() if self.subscribed else None,
            "lastHeard": self.heard_at.isoformat() if self.heard_at else None,
            "deadLetters": self.dead_letters,
            "backfill": {
                "id": str(self.backfill.pk),
                "state": self.backfill.state,
                "sent": self.backfill.sent,
                "total": self.backfill.total,
            }
            if self.backfill
            else None,
            **(declared_as_json(declared) if declared else {}),
        }


@dataclass(frozen=True)
class ContractEntry:
    """A contract and who reads that version. Nobody can listen to an internal one: only its own app reads it."""

    event_type: str
    routing_key: str
    internal: bool
    consumers: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "type": self.event_type,
            "contract": self.routing_key,
            "internal": self.internal,
            "consumers": list(self.consumers),
        }


def declared_as_json(consumer: Consumer) -> dict[str, Any]:
    """What a consumer declares."""
    return {
        "process": f"worker_{consumer.group}",
        "ordered": consumer.ordered,
        "batch": consumer.batch,
        "batched": consumer.batched,
        "retry": {"times": consumer.retry.times, "delays": consumer.retry.delays, "maxAge": consumer.retry.max_age},
        "start": consumer.start,
        "tables": list(consumer.tables),
        "sideEffects": consumer.side_effects,
    }


def consumer_entries(event_type: str = "") -> list[ConsumerEntry]:
    """Every consumer that is declared, or was when it last subscribed; with a type, those that listen to it."""
    moments = [Min("since"), Max("noted_at"), Max("heard_at")]
    rows: Iterable[Any] = Subscription.objects.order_by().values_list("consumer").annotate(*moments)
    known = {consumer: Listening(*found) for consumer, *found in rows}
    letters = dict(
        DeadLetter.objects.filter(state=DeadLetterState.OPEN).values_list("consumer").annotate(letters=Count("id"))
    )
    backfills = {each.consumer: each for each in ArchiveReplay.objects.filter(is_backfill=True).order_by("pk")}
    result = []
    for name in sorted({*CONSUMERS, *known}):
        declared = CONSUMERS.get(name)
        keys = declared.routing_keys if declared else _keys_of(name)
        if event_type and event_type not in map(event_type_of, keys):
            continue
        result.append(ConsumerEntry(name, declared, keys, known.get(name), letters.get(name, 0), backfills.get(name)))
    return result


def contract_entries(event_type: str = "") -> list[ContractEntry]:
    """Every contract, by its major version, and who listens to it."""
    contracts = {contract.routing_key(): contract for contract in CONTRACTS.values()}
    return [
        ContractEntry(contract.type, key, contract.internal, tuple(_names_of(key)))
        for key, contract in sorted(contracts.items())
        if event_type in ("", contract.type)
    ]


def _names_of(routing_key: str) -> Iterable[str]:
    keys = {each.name: {contract.routing_key() for contract in each.on} for each in CONSUMERS.values()}
    return sorted(name for name, own in keys.items() if routing_key in own)


def _keys_of(gone: str) -> tuple[str, ...]:
    return tuple(Subscription.objects.filter(consumer=gone).values_list("routing_key", flat=True))
