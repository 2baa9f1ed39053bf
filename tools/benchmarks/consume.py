"""How fast a full queue is worked off by a consumer that writes one row, exactly once."""

import json
from statistics import median

from django.db import connection

from tools.benchmarks import broker, plain, plain_tasks
from tools.benchmarks.events import OrderTallied
from tools.benchmarks.measure import Result, alternate
from tools.benchmarks.models import Tally
from tools.benchmarks.samples import order_message
from tools.benchmarks.work import done, our_worker, work_off

PLAIN_INBOX = "benchmarks_plaininbox"


def run(*, quick: bool) -> list[Result]:
    many, few, rounds = (300, 100, 1) if quick else (10_000, 3_000, 3)
    broker.declare()
    sides = alternate(rounds, lambda: by_us("bench.tally", many), lambda: by_celery(few))
    each, celery = (median(side) for side in sides)
    as_list = by_us("bench.tally_list", many)
    return [
        Result("consume", each, celery, "events/s", wanted=4.0),
        Result("consume_list", as_list, celery, "events/s"),
    ]


def by_us(consumer: str, count: int) -> float:
    """Events per second of one of our consumers."""
    empty()
    broker.send([order_message(OrderTallied, consumer) for _ in range(count)])
    rate = work_off(our_worker(consumer), queue=consumer, count=count, inbox="processed_event")
    check(done("processed_event", consumer))
    return rate


def by_celery(count: int) -> float:
    """Events per second of the plain Celery task."""
    empty()
    for _ in range(count):
        plain_tasks.tally.delay(json.loads(order_message(OrderTallied, plain.TALLY).body))
    rate = work_off(plain.worker(plain.TALLY), queue=plain.TALLY, count=count, inbox=PLAIN_INBOX)
    check(done(PLAIN_INBOX, plain.TALLY))
    return rate


def empty() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE processed_event, {PLAIN_INBOX}, benchmarks_tally")


def check(events: int) -> None:
    """A figure counts only if each event had its effect once."""
    if Tally.objects.count() != events:
        raise RuntimeError(f"{Tally.objects.count()} rows for {events} events.")
