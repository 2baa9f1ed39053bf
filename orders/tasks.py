"""Periodic upkeep of orders."""

import structlog
from celery import shared_task

from eventbus import database_time
from orders import services

log = structlog.get_logger(__name__)


@shared_task(name="orders.resolve_stuck", soft_time_limit=120, time_limit=150)
def resolve_stuck() -> None:
    """Cancel orders that could have been answered in time and were not; the alarm `orders_overdue` counts the rest."""
    if given_up := services.cancel_overdue(now=database_time()):
        log.error("orders.timed_out", count=given_up)
