"""Periodic upkeep of webhooks."""

import structlog
from celery import shared_task

from webhooks import retention

log = structlog.get_logger(__name__)


@shared_task(name="webhooks.forget_old_deliveries", soft_time_limit=300, time_limit=330)
def forget_old_deliveries() -> None:
    """Delete deliveries that are older than a month, and what deleted webhooks leave."""
    log.info("webhooks.forgotten", deliveries=retention.forget_old_deliveries())
