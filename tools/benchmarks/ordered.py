"""What order per aggregate costs: one handler, as an ordered consumer and as an unordered one, on the same events."""

from statistics import median

from django.db import connection

from eventbus.broker.publisher import Outgoing
from tools.benchmarks import broker
from tools.benchmarks.archive import addressed, record, stored
from tools.benchmarks.consume import check
from tools.benchmarks.events import OrderTallied
from tools.benchmarks.measure import Result, alternate, ask
from tools.benchmarks.work import done, our_worker, work_off

ORDERED, UNORDERED = "bench.tally_ordered", "bench.tally"
EVENTS_PER_ORDER = 4

OUT_OF_ORDER = """
SELECT count(*) FROM (
    SELECT e.sequence - lag(e.sequence, 1, 0) OVER (PARTITION BY e.aggregate_id ORDER BY t.id) AS step
    FROM benchmarks_tally t JOIN event e ON e.id = t.event_id
) AS steps WHERE step <> 1
"""


def run(*, quick: bool) -> list[Result]:
    count, rounds = (500, 1) if quick else (10_000, 3)
    broker.declare()
    record(OrderTallied, count, per_order=EVENTS_PER_ORDER)
    messages = stored(OrderTallied, count)
    sides = alternate(rounds, lambda: in_order(messages), lambda: consume(UNORDERED, messages))
    ordered, unordered = (median(side) for side in sides)
    return [Result("ordered", ordered, unordered, "events/s")]


def in_order(messages: list[Outgoing]) -> float:
    """Events per second of the ordered consumer. Counts only if each order's rows were written in order."""
    rate = consume(ORDERED, messages)
    if wrong := ask(OUT_OF_ORDER):
        raise RuntimeError(f"{wrong} rows of an ordered consumer are out of order.")
    return rate


def consume(consumer: str, messages: list[Outgoing]) -> float:
    """Events per second of a consumer that finds them all in its queue."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE processed_event, ordered_position, benchmarks_tally")
    broker.send(addressed(messages, consumer))
    rate = work_off(our_worker(consumer), queue=consumer, count=len(messages), inbox="processed_event")
    check(done("processed_event", consumer))
    return rate
