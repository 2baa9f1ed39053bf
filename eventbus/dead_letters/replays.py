"""Starting, pausing, resuming and cancelling replays. What sends the letters is `driver`."""

from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from eventbus.dead_letters.models import DeadLetter, DeadLetterEdit, DeadLetterReplay, ReplayOutcome, ReplayState
from eventbus.dead_letters.selection import Selection
from eventbus.ids import new_id
from eventbus.leases import move_run

THRESHOLD = 0.5

# The set is frozen here: a letter belongs to one replay at a time, and what fails from now on is not in it.
CLAIM = """
WITH picked AS MATERIALIZED ({picked}), claimed AS (
    UPDATE dead_letter d SET state = 'replaying', replay_id = %s
    FROM picked p
    WHERE d.id = p.id AND d.state IN ('open', 'replaying') AND d.replay_id IS NOT DISTINCT FROM p.replay_id
    RETURNING d.id
)
INSERT INTO replay_item (replay_id, letter_id, place, outcome, error)
SELECT %s, id, row_number() OVER (ORDER BY id), 'waiting', '' FROM claimed
"""
RELEASE = """
UPDATE dead_letter d SET state = 'open' FROM replay_item i
WHERE i.replay_id = %s AND i.letter_id = d.id AND i.outcome = 'waiting' AND i.sent_at IS NULL
  AND d.state = 'replaying' AND d.replay_id = i.replay_id
"""
RECLAIM = """
WITH wanted AS MATERIALIZED (
    SELECT i.id, i.letter_id FROM replay_item i
    WHERE i.replay_id = %(replay)s AND i.outcome = 'waiting' AND i.sent_at IS NULL
), taken AS (
    UPDATE dead_letter d SET state = 'replaying', replay_id = %(replay)s FROM wanted w
    WHERE d.id = w.letter_id AND (d.state = 'open' OR d.state = 'replaying' AND d.replay_id = %(replay)s)
    RETURNING d.id
)
UPDATE replay_item i SET outcome = 'cancelled', settled_at = now() FROM wanted w
WHERE i.id = w.id AND w.letter_id NOT IN (SELECT id FROM taken)
"""


def start_replay(
    selection: Selection,
    *,
    by: str,
    rate: float | None = None,
    threshold: float = THRESHOLD,
    limit: int | None = None,
    edit: DeadLetterEdit | None = None,
) -> DeadLetterReplay | None:
    """Freeze the set and start; None where no letter matches. A driver sends them from the next moment on."""
    letters: QuerySet[DeadLetter] = selection.replayable().order_by("pk")
    picked, params = letters[:limit].values("id", "replay_id").query.sql_with_params()
    with transaction.atomic(), connection.cursor() as cursor:
        replay = DeadLetterReplay.objects.create(
            id=new_id(), created_by=by, selection=selection.described(), total=0, rate=rate, threshold=threshold
        )
        cursor.execute(CLAIM.format(picked=picked), [*params, replay.pk, replay.pk])
        if not cursor.rowcount:
            transaction.set_rollback(True)
            return None
        DeadLetterReplay.objects.filter(pk=replay.pk).update(total=cursor.rowcount)
        if edit is not None:
            replay.items.update(edit=edit)
    replay.refresh_from_db()
    return replay


def pause_replay(replay_id: UUID, *, by: str) -> None:
    """Send nothing more until it is resumed. What was sent goes on. Raises RunRefused."""
    _move(replay_id, [ReplayState.RUNNING], state=ReplayState.PAUSED, note=f"Paused by {by}.")


def resume_replay(replay_id: UUID, *, by: str) -> None:
    """Go on with what was not sent, again with one letter, then ten, then the rest. Raises RunRefused."""
    with transaction.atomic(), connection.cursor() as cursor:
        _move(
            replay_id,
            [ReplayState.PAUSED, ReplayState.STOPPED],
            state=ReplayState.RUNNING,
            note=f"Resumed by {by}.",
            ended_at=None,
        )
        cursor.execute(RECLAIM, {"replay": replay_id})
        counts = outcomes(replay_id)
        DeadLetterReplay.objects.filter(pk=replay_id).update(
            failed_before=counts[ReplayOutcome.FAILED],
            settled_before=counts[ReplayOutcome.FAILED] + counts[ReplayOutcome.REPLAYED],
        )


def cancel_replay(replay_id: UUID, *, by: str) -> None:
    """End it: what was not sent is open again, what was sent runs its course. Raises RunRefused."""
    with transaction.atomic():
        _move(
            replay_id,
            [ReplayState.RUNNING, ReplayState.PAUSED, ReplayState.STOPPED],
            state=ReplayState.CANCELLED,
            note=f"Cancelled by {by}.",
            ended_at=timezone.now(),
        )
        release(replay_id)
        DeadLetterReplay.objects.get(pk=replay_id).items.filter(outcome=ReplayOutcome.WAITING, sent_at=None).update(
            outcome=ReplayOutcome.CANCELLED, settled_at=timezone.now()
        )


def stop_replay(replay_id: UUID, *, note: str) -> None:
    """End it because too much of it failed: what was not sent is open again. It may be resumed. Raises RunRefused."""
    with transaction.atomic():
        _move(replay_id, [ReplayState.RUNNING], state=ReplayState.STOPPED, note=note, ended_at=timezone.now())
        release(replay_id)


def finish_replay(replay_id: UUID) -> None:
    """Every letter has its outcome. Raises RunRefused."""
    _move(replay_id, [ReplayState.RUNNING], state=ReplayState.DONE, note="", ended_at=timezone.now())


def release(replay_id: UUID) -> None:
    """Open again those of its letters that were not sent."""
    with connection.cursor() as cursor:
        cursor.execute(RELEASE, [replay_id])


def outcomes(replay_id: UUID) -> dict[str, int]:
    """How many letters of the replay came to what."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT outcome, count(*) FROM replay_item WHERE replay_id = %s GROUP BY outcome", [replay_id])
        return dict.fromkeys(ReplayOutcome.values, 0) | dict(cursor.fetchall())


def _move(replay_id: UUID, allowed: list[ReplayState], **changes: Any) -> None:
    move_run(DeadLetterReplay, replay_id, allowed, **changes)
