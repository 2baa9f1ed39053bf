"""What people do with retries that wait. To give them up is in `eventbus.dead_letters.cancelling`."""

from collections.abc import Sequence

import structlog
from django.db.models.functions import Now

from eventbus.retries.queries import waiting_retries

log = structlog.get_logger(__name__)


def hurry(*, ids: Sequence[int] = (), consumer: str = "", by: str) -> int:
    """Have retries sent at once; returns how many were not due yet."""
    early = waiting_retries(ids=ids, consumer=consumer).filter(due_at__gt=Now()).order_by()
    hurried = early.update(due_at=Now())
    log.info("retries.hurried", retries=hurried, consumer=consumer or "any", by=by)
    return hurried
