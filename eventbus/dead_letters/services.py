"""What people do with letters and groups, apart from replaying them."""

from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from eventbus import declarations
from eventbus.contracts import InvalidEvent
from eventbus.dead_letters.crypto import encrypt
from eventbus.dead_letters.models import (
    DeadLetter,
    DeadLetterEdit,
    DeadLetterGroup,
    GroupState,
    LetterState,
    Replay,
)
from eventbus.dead_letters.replays import start_replay
from eventbus.dead_letters.selection import Selection
from eventbus.execution import read
from eventbus.retries import Delivery

log = structlog.get_logger(__name__)


class NotMended(Exception):
    """The edited payload can't go; the message says why."""


def discard(selection: Selection, *, reason: str, by: str, limit: int | None = None) -> int:
    """Give letters up for good, with the reason; returns how many. They stay to be read until they are dropped."""
    if not reason.strip():
        raise ValueError("Say why: a letter is not discarded without a reason.")
    chosen = selection.unsettled()
    if limit is not None:
        chosen = DeadLetter.objects.filter(pk__in=list(chosen.order_by("pk").values_list("pk", flat=True)[:limit]))
    discarded = DeadLetter.objects.filter(pk__in=chosen.values("pk")).exclude(
        state__in=[LetterState.REPLAYED, LetterState.DISCARDED]
    )
    count = discarded.update(
        state=LetterState.DISCARDED, discard_reason=reason.strip(), settled_at=timezone.now(), settled_by=by
    )
    log.info("dead_letters.discarded", letters=count, reason=reason, by=by, selection=selection.described())
    return count


def edit_and_replay(letter: DeadLetter, body: str, *, by: str) -> Replay:
    """Send a mended payload in the letter's place. Its own body stays as it came. Raises NotMended."""
    event_id = check_edit(letter, body)
    with transaction.atomic():
        edit = DeadLetterEdit.objects.create(letter=letter, body=encrypt(body.encode()), edited_by=by)
        DeadLetter.objects.filter(pk=letter.pk, event_id=None).update(event_id=event_id)
        replay = start_replay(Selection(ids=[letter.pk]), by=by, edit=edit)
        if replay is None:
            raise NotMended("The letter is not open any more: somebody replays or has settled it.")
    return replay


def check_edit(letter: DeadLetter, body: str) -> UUID:
    """The id of the event that the mended payload is. Raises NotMended where it is none that the consumer takes."""
    consumer = declarations.registry.get(letter.consumer)
    if consumer is None:
        raise NotMended(f"No consumer is called {letter.consumer} any more.")
    try:
        event = read(consumer, Delivery(body))
    except InvalidEvent as error:
        raise NotMended(str(error)) from error
    event_id = event.envelope.event_id
    if letter.event_id not in (None, event_id):
        raise NotMended(f"eventId must stay {letter.event_id}: by it the consumer knows what it has handled.")
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
