"""Dead letters are kept for DEAD_LETTER_DAYS, and an open one is not dropped without a warning."""

from datetime import timedelta

import structlog
from django.db.models import Count, Min, Q
from django.utils import timezone

from eventbus.dead_letters.models import DeadLetter, DeadLetterReplay, DeadLetterState

log = structlog.get_logger(__name__)

#: How long before an open letter is dropped, at least, it is warned of.
NOTICE = timedelta(days=2)
CHUNK = 5_000
OPEN = [DeadLetterState.OPEN, DeadLetterState.REPLAYING]


def prune() -> tuple[int, int]:
    """Warn of open letters that are near their end, and drop what has reached it; returns how many of each."""
    return warn(), drop()


def warn() -> int:
    """Note the warning in each open letter that is dropped soon, and log it once per group."""
    now = timezone.now()
    due = DeadLetter.objects.filter(state__in=OPEN, warned_at=None, drop_at__lte=now + NOTICE)
    groups = due.values("group__fingerprint", "consumer").annotate(letters=Count("id"), first=Min("drop_at"))
    for group in groups.order_by("group__fingerprint"):
        log.error(
            "dead_letters.dropped_soon",
            group=group["group__fingerprint"],
            consumer=group["consumer"],
            letters=group["letters"],
            drop_at=max(group["first"], now + NOTICE).isoformat(),
        )
    return due.update(warned_at=now)


def drop() -> int:
    """Delete what has reached its end: settled, or warned of long enough ago."""
    now = timezone.now()
    ended = DeadLetter.objects.filter(drop_at__lte=now).filter(
        ~Q(state__in=OPEN) | Q(state=DeadLetterState.OPEN, warned_at__lte=now - NOTICE)
    )
    dropped = 0
    while ids := list(ended.values_list("id", flat=True)[:CHUNK]):
        # Asked again: a letter may be in a replay since.
        _, by_model = ended.filter(pk__in=ids).delete()
        dropped += by_model.get("eventbus.DeadLetter", 0)
    if dropped:
        log.warning("dead_letters.dropped", letters=dropped)
    DeadLetterReplay.objects.filter(items=None, ended_at__lte=now - NOTICE).delete()
    return dropped


def dropped_soon() -> dict[str, int]:
    """How many open letters of each consumer are dropped within the time of the warning."""
    near = DeadLetter.objects.filter(state__in=OPEN, drop_at__lte=timezone.now() + NOTICE)
    return dict(near.values_list("consumer").annotate(letters=Count("id")))
