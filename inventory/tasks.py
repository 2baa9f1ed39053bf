"""Periodic upkeep of inventory."""

import structlog
from celery import shared_task

from inventory import snapshots

log = structlog.get_logger(__name__)


@shared_task(name="inventory.make_snapshots", soft_time_limit=300, time_limit=330)
def make_snapshots() -> None:
    """Keep the products' histories quick to read."""
    if made := snapshots.make_snapshots():
        log.info("stock.snapshots_made", count=made)
