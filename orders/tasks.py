"""Periodic upkeep of orders."""

import structlog
from celery import shared_task

from orders import services

log = structlog.get_logger(__name__)


@shared_task(name="orders.forget_old_keys")  # type: ignore[untyped-decorator]
def forget_old_keys() -> None:
    """Delete expired idempotency keys."""
    log.info("idempotency_keys.forgotten", count=services.forget_old_keys())
