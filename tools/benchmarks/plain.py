"""The baselines' Celery application: plain Celery, done well. Its tasks are in `plain_tasks` beside this, those of a
whole order in `plain_effects`."""

from celery import Celery
from celery.signals import setup_logging
from django.conf import settings
from kombu import Exchange, Queue

from eventbus.broker.connection import celery_connection

TALLY, RESERVE, CONFIRM = "plain.tally", "plain.reserve", "plain.confirm"
#: The queue of all that a whole order causes.
EFFECTS = "plain.effects"

# Not the current one: the web process has the product's own beside it.
app = Celery("plain", set_as_current=False, include=["tools.benchmarks.plain_tasks", "tools.benchmarks.plain_effects"])
app.conf.update(
    **celery_connection(settings.EVENTBUS_BROKER_URL),
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    # Otherwise Celery closes Django's database connection before and after each task: 20 tasks/s instead of hundreds.
    CELERY_DB_REUSE_MAX=10**9,
    # The best of 2, 10 and 100 for such tasks.
    worker_prefetch_multiplier=10,
    task_queues=[
        Queue(name, Exchange("plain", "direct"), name, queue_arguments={"x-queue-type": "quorum"})
        for name in (TALLY, RESERVE, CONFIRM, EFFECTS)
    ],
    task_routes={name: {"queue": name} for name in (TALLY, RESERVE, CONFIRM)} | {f"{EFFECTS}.*": {"queue": EFFECTS}},
)


@setup_logging.connect
def keep_djangos_logging(**_: object) -> None:
    """The same log settings as ours."""


def worker(*queues: str) -> str:
    """The command that works these queues, with as many processes as ours has."""
    options = "--concurrency=2 --without-gossip --without-mingle --loglevel=INFO"
    return f"celery -A tools.benchmarks.plain worker {options} --hostname={queues[0]}@%h --queues={','.join(queues)}"
