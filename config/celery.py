"""The Celery application. What differs from Celery's defaults, and why, stands in `eventbus.worker.celery_settings`."""

import os

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from eventbus.worker.celery_settings import CELERY

app = Celery("pipeline")
app.conf.update(CELERY)
app.conf.beat_schedule = {
    # Expires: when no worker runs for a while, one search afterwards is enough.
    "consumers' activity": {"task": "eventbus.note_activity", "schedule": 30, "options": {"expires": 30}},
    "partitions": {"task": "eventbus.make_partitions", "schedule": 6 * 3600},
    "months older than ARCHIVE_DAYS": {"task": "eventbus.prune_archive", "schedule": 24 * 3600},
    "stuck orders": {"task": "orders.resolve_stuck", "schedule": 60},
    "dead letters near their end": {"task": "eventbus.prune_dead_letters", "schedule": 3600},
    "old idempotency keys": {"task": "api.forget_old_keys", "schedule": 3600},
    "full buckets": {"task": "api.forget_full_buckets", "schedule": 3600},
    "old webhook deliveries": {"task": "webhooks.forget_old_deliveries", "schedule": 3600},
    "stock snapshots": {"task": "inventory.make_snapshots", "schedule": 60, "options": {"expires": 60}},
}
app.autodiscover_tasks()


@setup_logging.connect
def keep_djangos_logging(**_: object) -> None:
    """Celery leaves logging alone where this signal has a receiver: `config.logs` has set it up."""
