"""What the bus needs of Celery. Where it differs from the default, the default would lose or double events."""

import sys
from typing import Any

import kombu
from django.utils.module_loading import import_string

from eventbus.broker.connection import HEARTBEAT, celery_connection
from eventbus.broker.topology import UPKEEP
from eventbus.conf import bus_settings

UPKEEP_QUEUE = kombu.Queue(
    UPKEEP, kombu.Exchange(""), UPKEEP, no_declare=True, queue_arguments={"x-queue-type": "quorum"}
)

CELERY: dict[str, Any] = {
    "imports": ("eventbus.worker.tasks", "eventbus.monitoring.upkeep"),
    "worker_consumer": "eventbus.worker.celery_consumer:BusConsumer",
    "beat_scheduler": "eventbus.worker.scheduler:StaticScheduler",
    # Its sign of life comes once a round.
    "beat_max_loop_interval": 5,
    # Acknowledge after the commit, and give back what a killed process had. A periodic task that fails is logged, and
    # its next run does what it left; of consumers no failure is acknowledged by itself (`eventbus.worker.tasks`).
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_acks_on_failure": True,
    "task_acks_on_timeout": False,
    # Otherwise an old run and its redelivered twin go side by side after a reconnect.
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # Otherwise a delivery-acknowledgement time-out ends the worker.
    "broker_channel_error_retry": True,
    "broker_heartbeat": HEARTBEAT,
    # Where the broker is and how to get there; what BROKER_URL says of that comes before the above.
    **celery_connection(bus_settings.BROKER_URL),
    # Otherwise Celery closes Django's connection before and after every task, and logging in takes longer than the
    # work. `eventbus.worker.tasks` drops one that broke.
    "CELERY_DB_REUSE_MAX": sys.maxsize,
    "task_ignore_result": True,
    "task_store_errors_even_if_ignored": False,
    "task_queues": [UPKEEP_QUEUE],
    "task_default_queue": UPKEEP,
    "task_create_missing_queues": False,
    "task_serializer": "json",
    "accept_content": ["json"],
    # Flower lives on these.
    "worker_send_task_events": True,
    "task_track_started": False,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "worker_enable_remote_control": True,
    "timezone": "UTC",
}


def celery_app() -> Any:
    """The project's Celery application. Nobody else who starts Django should have to load Celery."""
    return import_string(bus_settings.CELERY_APP)
