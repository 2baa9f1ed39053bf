"""A retry that waits and that somebody gives up becomes a dead letter: it can be read, edited and replayed like any."""

from collections.abc import Sequence
from datetime import datetime

import structlog
from django.db import transaction

from eventbus.conf import bus_settings
from eventbus.db.clock import database_time
from eventbus.db.crypto import UnreadablePayload, decrypt
from eventbus.dead_letters.message import DeadMessage, read_message
from eventbus.dead_letters.store import ingest
from eventbus.errors import Reason
from eventbus.retries.models import WaitingRetry
from eventbus.retries.queries import waiting_retries

log = structlog.get_logger(__name__)

CHUNK = 200


def cancel(*, ids: Sequence[int] = (), consumer: str = "", by: str) -> int:
    """Make dead letters of retries; returns how many. What a relay is sending just now is left out.

    So is, with an error in the log, whatever no key opens. Raises DatabaseError.
    """
    chosen = list(waiting_retries(ids=ids, consumer=consumer).values_list("pk", flat=True))
    cancelled = sum(_cancel(chosen[start : start + CHUNK], by) for start in range(0, len(chosen), CHUNK))
    log.info("retries.cancelled", retries=cancelled, consumer=consumer or "any", by=by)
    return cancelled


def _cancel(ids: list[int], by: str) -> int:
    now = database_time()
    letters: dict[int, DeadMessage] = {}
    with transaction.atomic():
        for retry in WaitingRetry.objects.filter(pk__in=ids).order_by("pk").select_for_update(skip_locked=True):
            try:
                letters[retry.pk] = as_dead_message(retry, by, now)
            except UnreadablePayload as error:
                log.error("retry.unreadable", consumer=retry.consumer, retry=retry.pk, error=str(error))
        # With the letter the inbox says that the event is dead.
        ingest(list(letters.values()))
        WaitingRetry.objects.filter(pk__in=letters).delete()
    return len(letters)


def as_dead_message(retry: WaitingRetry, by: str, now: datetime) -> DeadMessage:
    """The retry as the ingester would read it from a dead-letter queue. Raises UnreadablePayload."""
    why = f"Cancelled by {by} before attempt {retry.attempt}. The last one failed: {retry.last_error}"
    headers = {
        **retry.headers,
        "x-dead-reason": str(Reason.CANCELLED),
        "x-failed-at": now.isoformat(),
        "x-code-version": bus_settings.CODE_VERSION,
        "x-error-class": "Cancelled",
        "x-error-message": why,
    }
    return read_message(retry.consumer, decrypt(retry.body), headers, retry.properties, now=now)
