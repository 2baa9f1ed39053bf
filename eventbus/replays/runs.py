"""Starting, pausing, resuming and cancelling replays from the archive. What sends the events is `driver`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from eventbus.declaration import CONSUMERS, Consumer
from eventbus.ids import FROM_THE_START, new_id
from eventbus.leases import move_run
from eventbus.replays import windows
from eventbus.replays.models import ArchiveReplay, RunState
from eventbus.replays.selection import Selection, SelectionError, SideEffectsUnconfirmed


@dataclass(frozen=True)
class Plan:
    """What a replay would send, counted by event type and by what became of the events so far."""

    consumer: Consumer
    selection: Selection
    routing_keys: Sequence[str]
    upto: UUID | None
    by_type: dict[str, dict[str, int]]

    @property
    def counts(self) -> Counter[str]:
        """The numbers of all types together: `handled`, `dead`, `outbox`, `missing`."""
        return sum((Counter(counts) for counts in self.by_type.values()), Counter())

    @property
    def total(self) -> int:
        """How many events would be sent."""
        return self.counts["missing"] + self.counts["outbox"]

    def why_nothing(self) -> str:
        """Why there is nothing to send, and what to do instead."""
        counts, name = self.counts, self.consumer.name
        if not counts:
            return f"No archived event that {name} listens to matches."
        parts = []
        if counts["handled"]:
            again = (
                f"`rebuild_projection {name}` handles them again."
                if self.consumer.tables
                else "It would ignore them: its inbox knows them. Only a projection can be built again."
            )
            parts.append(f"{counts['handled']} of them are handled already. {again}")
        if counts["dead"]:
            parts.append(f"{counts['dead']} are dead letters: retry those as such.")
        return f"{counts.total()} events match, and none is to be sent. {' '.join(parts)}"


def consumer_named(name: str, *, side_effects: str = "") -> Consumer:
    """The consumer to send to. Raises SelectionError where there is none, or where its effects need a word more."""
    consumer = CONSUMERS.get(name)
    if consumer is None:
        raise SelectionError(f"No consumer is called {name}. There are: {', '.join(sorted(CONSUMERS))}.")
    if consumer.side_effects and side_effects != name:
        raise SideEffectsUnconfirmed(
            f"{name} reaches outside the database, such as by mail: what it did long ago it would do now. If that is "
            "what you want, say so."
        )
    return consumer


def plan_replay(consumer: Consumer, selection: Selection) -> Plan:
    """Count what a replay would send now. Raises SelectionError."""
    keys = selection.routing_keys(consumer)
    newest = windows.newest()
    if newest is None:
        return Plan(consumer, selection, keys, None, {})
    upto = selection.before(newest)
    found = windows.count(consumer.name, keys, selection.after, upto, selection.described())
    return Plan(consumer, selection, keys, upto, found)


def start_replay(plan: Plan, *, by: str, rate: float | None = None) -> ArchiveReplay | None:
    """Start what was planned; None where nothing is to be sent. A driver sends it from the next moment on."""
    if not plan.total or plan.upto is None:
        return None
    return ArchiveReplay.objects.create(
        id=new_id(),
        consumer=plan.consumer.name,
        created_by=by,
        selection=plan.selection.described(),
        routing_keys=list(plan.routing_keys),
        position=plan.selection.after,
        upto=plan.upto,
        total=plan.total,
        rate=rate,
    )


def start_backfill(consumer: Consumer, keys: Sequence[str]) -> ArchiveReplay | None:
    """Send the whole archive of these contracts to a consumer that begins to listen to them; None where it is empty.

    Call it when the queue is bound already: what commits after this read of the archive is published after it, too.
    """
    upto = windows.newest()
    total = windows.count_all(keys, upto) if upto else 0
    if upto is None or not total:
        return None
    return ArchiveReplay.objects.create(
        id=new_id(),
        consumer=consumer.name,
        is_backfill=True,
        created_by="declare_topology",
        selection={},
        routing_keys=list(keys),
        position=FROM_THE_START,
        upto=upto,
        total=total,
    )


def start_again(consumer: str) -> None:
    """Let the replays to a consumer begin anew: what they had sent was lost. What is handled is passed over."""
    with transaction.atomic():
        unfinished = ArchiveReplay.objects.filter(consumer=consumer, state__in=[RunState.RUNNING, RunState.PAUSED])
        for replay in unfinished.select_for_update():
            since = replay.selection.get("since")
            begin = Selection(since=datetime.fromisoformat(since) if since else None).after
            # Without its lease the driver can't note that it has come further meanwhile.
            unfinished.filter(pk=replay.pk).update(position=begin, lease_holder="")


def pause_replay(replay_id: UUID, *, by: str) -> None:
    """Send nothing more until it is resumed. Raises RunRefused."""
    _move(replay_id, [RunState.RUNNING], state=RunState.PAUSED, note=f"Paused by {by}.")


def resume_replay(replay_id: UUID, *, by: str) -> None:
    """Go on where it stopped. Raises RunRefused."""
    _move(replay_id, [RunState.PAUSED], state=RunState.RUNNING, note=f"Resumed by {by}.")


def cancel_replay(replay_id: UUID, *, by: str) -> None:
    """End it. What was sent runs its course. Raises RunRefused."""
    allowed = [RunState.RUNNING, RunState.PAUSED]
    _move(replay_id, allowed, state=RunState.CANCELLED, note=f"Cancelled by {by}.", ended_at=timezone.now())


def finish_replay(replay_id: UUID) -> None:
    """The end of the frozen set is reached. Raises RunRefused."""
    _move(replay_id, [RunState.RUNNING], state=RunState.DONE, note="", ended_at=timezone.now())


def as_json(replay: ArchiveReplay) -> dict[str, Any]:
    """A replay and how far it is."""
    return {
        "id": str(replay.pk),
        "consumer": replay.consumer,
        "backfill": replay.is_backfill,
        "state": replay.state,
        "note": replay.note,
        "by": replay.created_by,
        "createdAt": replay.created_at.isoformat(),
        "endedAt": replay.ended_at.isoformat() if replay.ended_at else None,
        "selection": replay.selection,
        "contracts": replay.routing_keys,
        "total": replay.total,
        "sent": replay.sent,
        "rate": replay.rate,
    }


def _move(replay_id: UUID, allowed: Sequence[RunState], **changes: Any) -> None:
    move_run(ArchiveReplay, replay_id, allowed, **changes)
