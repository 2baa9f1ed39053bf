"""What `verify_pipeline` costs over a large archive, against one bare pass over the same rows."""

from statistics import median
from time import monotonic
from typing import Any

from django.db import connection

from eventbus.subscriptions.models import Subscription
from tools.benchmarks import broker
from tools.benchmarks.command import manage
from tools.benchmarks.events import OrderTallied
from tools.benchmarks.measure import Result, alternate, ask
from tools.benchmarks.samples import order_event

CONSUMERS = ("bench.tally", "bench.tally_list")
EVENTS_PER_ORDER = 4

# Through publish() and a worker a million would take many minutes. The ids begin with the time, as a UUIDv7's do.
FILL = """
WITH new AS MATERIALIZED (
    SELECT number, (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
                    || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid AS id
    FROM generate_series(%(first)s::int, %(last)s::int) AS number
), archived AS (
    INSERT INTO event (id, type, version, aggregate_type, aggregate_id, sequence, occurred_at, correlation_id, data)
    SELECT id, %(type)s, %(version)s, %(kind)s, number / %(each)s, number %% %(each)s + 1, now(), id, %(data)s::jsonb
    FROM new
), streams AS (
    INSERT INTO stream (aggregate_type, aggregate_id, sequence)
    SELECT %(kind)s, (number / %(each)s)::text, count(*) FROM new GROUP BY number / %(each)s
)
INSERT INTO processed_event (event_id, consumer) SELECT id, consumer FROM new, unnest(%(consumers)s::text[]) AS consumer
"""
# The least that anybody has to read to know that each event has its inbox rows.
PAIRS = "SELECT count(*) FROM event e JOIN processed_event p ON p.event_id = e.id"


def run(*, quick: bool) -> list[Result]:
    events, rounds = (10_000, 1) if quick else (1_000_000, 3)
    broker.declare()
    for consumer in CONSUMERS:
        Subscription.objects.create(consumer=consumer, routing_key=OrderTallied.routing_key())
    fill(0, events // 10)
    peak_of_few = manage("verify_pipeline", "--json", log="verify").peak_mb
    fill(events // 10, events)
    sides: list[list[Any]] = alternate(
        rounds, lambda: manage("verify_pipeline", "--json", log="verify"), lambda: bare_pass(events)
    )
    usages, passes = sides
    seconds, peak = (median([getattr(usage, name) for usage in usages]) for name in ("seconds", "peak_mb"))
    return [
        Result("verify_pipeline", events / seconds, events / median(passes), "events/s"),
        Result("verify_pipeline_memory_mb", peak, peak_of_few, "MB", less_is_better=True),
    ]


def fill(have: int, want: int) -> None:
    """Bring the archive to so many events, four of each order, that every consumer has handled."""
    sample = order_event(OrderTallied)
    with connection.cursor() as cursor:
        cursor.execute(
            FILL,
            {
                "first": have,
                "last": want - 1,
                "each": EVENTS_PER_ORDER,
                "type": sample.type,
                "version": sample.version,
                "kind": sample.aggregate_type,
                "data": sample.data().decode(),
                "consumers": list(CONSUMERS),
            },
        )
        # What autovacuum has done by then in an archive that grew by and by.
        cursor.execute("VACUUM (ANALYZE) event, processed_event")


def bare_pass(events: int) -> float:
    """Seconds to pair every event with its inbox rows, and to count the pairs."""
    began = monotonic()
    pairs = ask(PAIRS)
    seconds = monotonic() - began
    if pairs != events * len(CONSUMERS):
        raise RuntimeError(f"{pairs} inbox rows for {events} events at {len(CONSUMERS)} consumers.")
    return seconds
