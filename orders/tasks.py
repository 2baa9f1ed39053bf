"""Periodic upkeep of orders."""

from datetime import UTC, datetime

import structlog
from celery import shared_task

from orders import services

log = structlog.get_logger(__name__)


@shared_task(name="orders.resolve_stuck", soft_time_limit=120, time_limit=150)
def resolve_stuck() -> None:
    """Cancel orders that could have been answered in time and were not; the alarm `orders_overdue` counts the rest."""
    if given_up := services.cancel_overdue(now=datetime.now(UTC)):
        log.error("orders.timed_out", count=given_up)
