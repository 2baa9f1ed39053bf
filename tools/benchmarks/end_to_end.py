"""From POST to CONFIRMED at a steady rate, against the same chain of tasks sent after each commit."""

import asyncio
from contextlib import ExitStack
from functools import partial
from statistics import median

from django.db import connection

from script._lib.waiting import wait_until
from tools.benchmarks import broker, plain
from tools.benchmarks.load import steadily
from tools.benchmarks.measure import Result, alternate, percentile
from tools.benchmarks.running import running, wait_ready
from tools.benchmarks.samples import fill_shelves, token

OURS = ("inventory.reserve_stock", "orders.confirm")
PLAIN = (plain.RESERVE, plain.CONFIRM)
RATE = 20

# PostgreSQL delivers a notification when its transaction has committed: the same stopwatch for both.
TELL = """
CREATE FUNCTION tell_confirmed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify('confirmed', NEW.id::text); RETURN NULL; END $$;
CREATE TRIGGER tell_confirmed AFTER UPDATE OF status ON orders_order FOR EACH ROW WHEN (NEW.status = 'CONFIRMED')
EXECUTE FUNCTION tell_confirmed();
"""


def run(*, quick: bool) -> list[Result]:
    seconds, rounds = (1.0, 1) if quick else (5.0, 3)
    broker.declare()
    fill_shelves()
    with connection.cursor() as cursor:
        cursor.execute(TELL)
    secret = token()
    with ExitStack() as stack:
        for name in ("relay", "worker_orders", "worker_inventory"):
            stack.enter_context(running(name))
        for queue in PLAIN:
            stack.enter_context(running(queue, plain.worker(queue)))
        wait_ready(stack.enter_context(running("web")))
        wait_until(lambda: all(map(broker.consumers, OURS + PLAIN)), 60, "the workers")
        sides = [partial(place, path, secret, seconds) for path in ("/api/v1/orders", "/plain/orders-with-delay")]
        for side in sides:
            side()
        ours, celery = alternate(rounds, *sides)
    return [
        Result(
            f"end_to_end_p{percent}",
            median([percentile(times, percent) for times in ours]),
            median([percentile(times, percent) for times in celery]),
            "ms",
            wanted=wanted,
            less_is_better=True,
        )
        for percent, wanted in ((50, 1 / 1.5), (99, None))
    ]


def place(path: str, secret: str, seconds: float) -> list[float]:
    """Place orders for so long; returns the milliseconds that each took."""
    return [1000 * took for took in asyncio.run(steadily(path, secret, rate=RATE, seconds=seconds))]
