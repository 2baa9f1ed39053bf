"""What people do with letters and groups, apart from replaying them."""

from uuid import UUID

import structlog
from django.db import connection, transaction
from django.utils import timezone

from eventbus.db.crypto import encrypt
from eventbus.dead_letters.models import (
    DeadLetter,
    DeadLetterEdit,
    DeadLetterGroup,
    DeadLetterReplay,
    DeadLetterState,
    GroupState,
)
from eventbus.dead_letters.replays import start_replay
from eventbus.dead_letters.selection import UNSETTLED, Selection
from eventbus.declaration import CONSUMERS
from eventbus.errors import EventbusError, InvalidEvent
from eventbus.worker.delivery import Delivery
from eventbus.worker.processing import read

log = structlog.get_logger(__name__)


class EditRefused(EventbusError):
    """The edited payload can't go; the message says why."""


# An ordered consumer passes over what was discarded. What waited behind it is published again: everybody else knows it.
GIVE_UP = """
WITH given_up AS (
    UPDATE processed_event p SET outcome = 'discarded' FROM dead_letter d
    WHERE d.id = ANY(%(letters)s) AND p.event_id = d.event_id AND p.consumer = d.consumer
      AND p.outcome IN ('dead', 'waiting')
    RETURNING p.event_id, p.consumer
), behind AS (
    SELECT DISTINCT ON (e.aggregate_type, e.aggregate_id) later.id, later.aggregate_id
    FROM given_up g JOIN event e ON e.id = g.event_id
    JOIN event later ON later.aggregate_id = e.aggregate_id AND later.aggregate_type = e.aggregate_type
                    AND later.sequence > e.sequence
    JOIN processed_event w ON w.event_id = later.id AND w.consumer = g.consumer AND w.outcome = 'waiting'
    WHERE g.consumer = ANY(%(ordered)s)
    ORDER BY e.aggregate_type, e.aggregate_id, later.sequence
)
INSERT INTO outbox (event_id, aggregate_id) SELECT id, aggregate_id FROM behind
"""
LOCK_INBOX = """
SELECT FROM processed_event p JOIN unnest(%s::uuid[], %s::text[]) AS t(event_id, consumer)
    ON p.event_id = t.event_id AND p.consumer = t.consumer
ORDER BY p.event_id, p.consumer FOR UPDATE OF p
"""
CHUNK = 5_000


def discard(selection: Selection, *, reason: str, by: str, limit: int | None = None) -> int:
    """Give letters up for good, with the reason; returns how many. They stay to be read until they are dropped."""
    if not reason.strip():
        raise ValueError("Say why: a letter is not discarded without a reason.")
    ids = list(selection.unsettled().order_by("pk").values_list("pk", flat=True)[:limit])
    discarded = sum(_discard(ids[start : start + CHUNK], reason.strip(), by) for start in range(0, len(ids), CHUNK))
    log.info("dead_letters.discarded", letters=discarded, reason=reason, by=by, selection=selection.described())
    return discarded


def _discard(ids: list[int], reason: str, by: str) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        # A handler that finishes one has its inbox row locked and wants the dead letter's: the same order here.
        letters = DeadLetter.objects.filter(UNSETTLED, pk__in=ids)
        known = letters.exclude(event_id=None).order_by("event_id", "consumer").values_list("event_id", "consumer")
        cursor.execute(LOCK_INBOX, [[str(event) for event, _ in known], [consumer for _, consumer in known]])
        taken = list(letters.order_by("pk").select_for_update(of=("self",)).values_list("pk", flat=True))
        cursor.execute(GIVE_UP, {"letters": taken, "ordered": ordered_consumers()})
        return DeadLetter.objects.filter(pk__in=taken).update(
            state=DeadLetterState.DISCARDED, discard_reason=reason, settled_at=timezone.now(), settled_by=by
        )


def ordered_consumers() -> list[str]:
    return [consumer.name for consumer in CONSUMERS.values() if consumer.ordered]


def edit_and_replay(letter: DeadLetter, body: str, *, by: str) -> DeadLetterReplay:
    """Send an edited payload in the letter's place. Its own body stays as it came. Raises EditRefused."""
    event_id = check_edit(letter, body)
    with transaction.atomic():
        edit = DeadLetterEdit.objects.create(letter=letter, body=encrypt(body.encode()), edited_by=by)
        DeadLetter.objects.filter(pk=letter.pk, event_id=None).update(event_id=event_id)
        replay = start_replay(Selection(ids=[letter.pk]), by=by, edit=edit)
        if replay is None:
            raise EditRefused("The letter is not open any more: somebody replays or has settled it.")
    return replay


def check_edit(letter: DeadLetter, body: str) -> UUID:
    """The id of the event that the edited payload is. Raises EditRefused where the consumer would not take it."""
    consumer = CONSUMERS.get(letter.consumer)
    if consumer is None:
        raise EditRefused(f"No consumer is called {letter.consumer} any more.")
    try:
        event = read(consumer, Delivery(body))
    except InvalidEvent as error:
        raise EditRefused(str(error)) from error
    event_id = event.envelope.event_id
    if letter.event_id not in (None, event_id):
        raise EditRefused(f"eventId must stay {letter.event_id}: by it the consumer knows what it has handled.")
    return event_id


def resolve_group(group: DeadLetterGroup, *, by: str) -> bool:
    """Note that the cause is gone. The next letter makes it regressed. Whether it was not resolved before."""
    return bool(
        DeadLetterGroup.objects.filter(pk=group.pk)
        .exclude(state=GroupState.RESOLVED)
        .update(state=GroupState.RESOLVED, resolved_at=timezone.now(), resolved_by=by)
    )


def reopen_group(group: DeadLetterGroup) -> bool:
    """Take a resolution back."""
    return bool(
        DeadLetterGroup.objects.filter(pk=group.pk)
        .exclude(state=GroupState.OPEN)
        .update(state=GroupState.OPEN, resolved_at=None, resolved_by="")
    )
