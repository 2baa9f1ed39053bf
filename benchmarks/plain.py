"""The baselines: what one writes with Celery alone, done well. Late acknowledgement, quorum queues, JSON, row locks."""

import os
from decimal import Decimal
from typing import Any

from celery import Celery
from celery.signals import setup_logging
from django.conf import settings
from django.db import transaction
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")

TALLY, RESERVE, CONFIRM = "plain.tally", "plain.reserve", "plain.confirm"

app = Celery("plain", broker=settings.BROKER_URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    # The best of 2, 10 and 100 for such tasks.
    worker_prefetch_multiplier=10,
    task_queues=[
        Queue(name, Exchange("plain", "direct"), name, queue_arguments={"x-queue-type": "quorum"})
        for name in (TALLY, RESERVE, CONFIRM)
    ],
    task_routes={f"{name}": {"queue": name} for name in (TALLY, RESERVE, CONFIRM)},
)


@setup_logging.connect
def keep_djangos_logging(**_: object) -> None:
    """The same log settings as ours."""


def worker(*queues: str) -> str:
    """The command that works these queues, with as many processes as ours has."""
    options = "--concurrency=2 --without-gossip --without-mingle --loglevel=INFO"
    return f"celery -A benchmarks.plain worker {options} --hostname={queues[0]}@%h --queues={','.join(queues)}"


@app.task(name=TALLY)
def tally(event: dict[str, Any]) -> None:
    """Exactly once by hand: an inbox row and the effect in one transaction."""
    from benchmarks.models import PlainInbox, Tally

    with transaction.atomic():
        _, new = PlainInbox.objects.get_or_create(event_id=event["eventId"], consumer=TALLY)
        if new:
            data = event["data"]
            Tally.objects.create(
                event_id=event["eventId"], order_id=data["orderId"], total_amount=Decimal(str(data["totalAmount"]))
            )
