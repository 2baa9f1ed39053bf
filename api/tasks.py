"""Periodic upkeep of the API."""

import structlog
from celery import shared_task

from api import buckets, idempotency

log = structlog.get_logger(__name__)


@shared_task(name="api.forget_old_keys", soft_time_limit=300, time_limit=330)
def forget_old_keys() -> None:
    """Delete the idempotency keys that have expired."""
    log.info("idempotency_keys.forgotten", count=idempotency.forget_old_keys())


@shared_task(name="api.forget_full_buckets", soft_time_limit=300, time_limit=330)
def forget_full_buckets() -> None:
    """Delete the buckets of callers who have not been seen for a day."""
    log.info("buckets.forgotten", count=buckets.forget_full_buckets())
