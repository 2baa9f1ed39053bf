"""Intake, relay and consumption with a year of events in the archive, against the same with an empty one."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import mean, median
from typing import Any

from django.db import connection

from eventbus import new_id
from eventbus.archive.partitions import ensure_partitions, month_start
from orders.events import OrderConfirmed
from tools.benchmarks import broker, intake, relay
from tools.benchmarks.events import OrderTallied
from tools.benchmarks.measure import Result, ask
from tools.benchmarks.models import Tally
from tools.benchmarks.running import running, wait_for, wait_ready
from tools.benchmarks.samples import order_event, order_message, token
from tools.benchmarks.work import our_worker

CONSUMER = "bench.tally"
MONTHS = 12
EVENTS_PER_ORDER = 4

# An order's four events lie within the minute in which it came, in the month's own partitions, as a year would leave
# them: with their streams, and with the inbox row of a consumer.
FILL = """
WITH new AS MATERIALIZED (
    SELECT number, %(began)s::timestamptz + number * %(every)s::interval AS moment,
           ('00000000-0000-4000-8000-' || lpad(to_hex(%(month)s * 100000000::bigint + number / %(each)s), 12, '0'))
               AS aggregate
    FROM generate_series(0, %(count)s - 1) AS number
), stamped AS MATERIALIZED (
    SELECT new.*, (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0')
                   || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid AS id
    FROM new
), archived AS (
    INSERT INTO event (id, type, version, aggregate_type, aggregate_id, sequence, occurred_at, correlation_id, data)
    SELECT id, %(type)s, %(version)s, 'order', aggregate, number %% %(each)s + 1, moment, aggregate, %(data)s::jsonb
    FROM stamped
), streams AS (
    INSERT INTO stream (aggregate_type, aggregate_id, sequence)
    SELECT 'order', aggregate, count(*) FROM stamped GROUP BY aggregate
)
INSERT INTO processed_event (event_id, consumer, processed_at) SELECT id, %(consumer)s, moment FROM stamped
"""
# From the first to the last of a round's own rows: the key finds them without reading the year before.
CONSUMED = """
WITH done AS (
    SELECT processed_at, max(processed_at) OVER () AS last FROM processed_event WHERE event_id > %s AND consumer = %s
)
SELECT count(*) FILTER (WHERE processed_at < last) / extract(epoch FROM max(last) - min(processed_at))::float8 FROM done
"""


@dataclass(frozen=True)
class Sizes:
    """How much is measured, and beside how many events."""

    archive: int
    seconds: float
    published: int
    consumed: int
    rounds: int


@dataclass(frozen=True)
class Rates:
    """Orders and events per second."""

    intake: float
    relay: float
    consume: float


def run(*, quick: bool) -> list[Result]:
    sizes = Sizes(12_000, 0.3, 500, 300, 1) if quick else Sizes(10_000_000, 3.0, 10_000, 10_000, 3)
    secret = token()
    broker.declare()
    settle()
    before = measure(sizes, secret)
    months = [month_start(datetime.now(UTC), -ago) for ago in range(MONTHS, 0, -1)]
    for month in months:
        fill(month, sizes.archive // MONTHS)
    settle()
    beside_a_year = measure(sizes, secret)
    for month in months:
        drop(month)
    settle()
    after = measure(sizes, secret)

    def result(name: str) -> Result:
        empty = mean([getattr(before, name), getattr(after, name)])
        return Result(f"large_archive_{name}", getattr(beside_a_year, name), empty, "1/s", wanted=0.9)

    return [result(name) for name in ("intake", "relay", "consume")]


def measure(sizes: Sizes, secret: str) -> Rates:
    with running("web") as web:
        wait_ready(web)
        intake.post(web, "/api/v1/orders", secret, sizes.seconds / 2)
        orders = [intake.post(web, "/api/v1/orders", secret, sizes.seconds).rate for _ in range(sizes.rounds)]
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE outbox")
    with running("relay") as process:
        wait_ready(process)
        relay.drain(sizes.published)
        published = [relay.drain(sizes.published) for _ in range(sizes.rounds)]
    consumed = [consume(sizes.consumed) for _ in range(sizes.rounds)]
    return Rates(median(orders), median(published), median(consumed))


def consume(count: int) -> float:
    """Events per second from a full queue."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE benchmarks_tally")
    first = new_id()
    broker.send([order_message(OrderTallied, CONSUMER) for _ in range(count)])
    with running(CONSUMER, our_worker(CONSUMER)) as worker:
        wait_for(worker, lambda: Tally.objects.count() == count, f"{count} events to be consumed")
    return float(ask(CONSUMED, first, CONSUMER))


def fill(month: datetime, count: int) -> None:
    """One month of the archive, evenly over its days."""
    ensure_partitions(month)
    sample = order_event(OrderTallied)
    confirmed = OrderConfirmed(
        **sample.model_dump(include=set(OrderConfirmed.model_fields)),
        customer_id=sample.customer.id,
        customer_email=sample.customer.email,
    )
    filling: dict[str, Any] = {
        "began": month,
        "every": timedelta(days=28) / count,
        "month": month.year * 12 + month.month,
        "each": EVENTS_PER_ORDER,
        "count": count,
        "type": confirmed.type,
        "version": confirmed.version,
        "data": confirmed.data().decode(),
        "consumer": CONSUMER,
    }
    with connection.cursor() as cursor:
        cursor.execute(FILL, filling)


def drop(month: datetime) -> None:
    """Empty the archive again, as far as a measurement can tell: its partitions and its streams."""
    with connection.cursor() as cursor:
        for table in ("event", "processed_event"):
            cursor.execute(f"DROP TABLE {table}_{month:%Y_%m}")
        cursor.execute("DELETE FROM stream WHERE aggregate_id LIKE '00000000-0000-4000-%'")


def settle() -> None:
    """What autovacuum and the checkpointer have done by then in an archive that grew by and by."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) event, processed_event, stream")
