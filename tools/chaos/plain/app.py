"""The Celery application of the baseline: the defaults, one queue per group of tasks."""

from celery import Celery
from celery.signals import setup_logging
from django.conf import settings

from eventbus.broker.connection import celery_connection

RESERVE, CONFIRM, REJECT, SEND = "plain.reserve", "plain.confirm", "plain.reject", "plain.send"
QUEUES = {RESERVE: "inventory", CONFIRM: "orders", REJECT: "orders", SEND: "notifications"}

app = Celery("plain", set_as_current=False, include=["tools.chaos.plain.tasks"])
app.conf.update(
    **celery_connection(settings.EVENTBUS_BROKER_URL),
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    worker_hijack_root_logger=False,
    task_routes={name: {"queue": queue} for name, queue in QUEUES.items()},
)


@setup_logging.connect
def keep_djangos_logging(**_: object) -> None:
    """The same log settings as ours."""
