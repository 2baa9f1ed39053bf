"""Rebuilding a view of orders by day from the archive, against `eventsourcing` and a plain loop with Django's ORM."""

import json
from decimal import Decimal
from statistics import median
from time import monotonic
from typing import Any

from django.db import connection, transaction

from eventbus import encode_json
from eventbus.archive.models import ArchivedEvent
from eventbus.subscriptions.models import Subscription
from tools.benchmarks import peer_projection
from tools.benchmarks.command import Usage, manage
from tools.benchmarks.events import OrderSold
from tools.benchmarks.measure import Result, alternate, ask
from tools.benchmarks.models import LoopSales, Sales
from tools.benchmarks.samples import order_event

CONSUMER = "bench.sell"
MEMORY_LIMIT_MB = 200

# Through publish() a million would take many minutes. The ids begin with the time, as a UUIDv7's do. A year of days,
# and all of it handled by the live consumer.
FILL = """
WITH new AS MATERIALIZED (
    SELECT number, (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
                    || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid AS id
    FROM generate_series(1, %(count)s::int) AS number
), archived AS (
    INSERT INTO event (id, type, version, aggregate_type, aggregate_id, sequence, occurred_at, correlation_id, data)
    SELECT id, %(type)s, %(version)s, %(kind)s, id, 1, now() - number %% 365 * interval '1 day', id, %(data)s::jsonb
    FROM new
)
INSERT INTO processed_event (event_id, consumer) SELECT id, %(consumer)s FROM new
"""


def run(*, quick: bool) -> list[Result]:
    # The others' time grows with their events and no faster: fewer tell their rate.
    events, theirs, rounds = (10_000, 500, 1) if quick else (1_000_000, 20_000, 3)
    fill(events)
    peer_projection.record([order() for _ in range(theirs)])
    sides: list[list[Any]] = alternate(
        rounds, lambda: rebuild(events), lambda: peer_projection.project(theirs), lambda: loop(theirs)
    )
    usages, peer, plain = sides
    ours = events / median(usage.seconds for usage in usages)
    best = max(median(peer), median(plain))
    return [
        Result("rebuild", ours, best, "events/s", wanted=5.0),
        Result("rebuild_eventsourcing", ours, median(peer), "events/s"),
        Result("rebuild_orm_loop", ours, median(plain), "events/s"),
        Result(
            "rebuild_memory_mb",
            median(usage.peak_mb for usage in usages),
            MEMORY_LIMIT_MB,
            "MB",
            wanted=1.0,
            less_is_better=True,
        ),
    ]


def fill(count: int) -> None:
    sample = order_event(OrderSold)
    Subscription.objects.create(consumer=CONSUMER, routing_key=sample.routing_key())
    with connection.cursor() as cursor:
        cursor.execute(
            FILL,
            {
                "count": count,
                "type": sample.type,
                "version": sample.version,
                "kind": sample.aggregate_type,
                "data": sample.data().decode(),
                "consumer": CONSUMER,
            },
        )
        cursor.execute("VACUUM (ANALYZE) event, processed_event")


def order() -> dict[str, Any]:
    """An order as JSON has it, its amounts as text."""
    plain: dict[str, Any] = json.loads(encode_json(order_event(OrderSold).model_dump(by_alias=True)), parse_float=str)
    return plain | {"totalAmount": str(plain["totalAmount"])}


def rebuild(events: int) -> Usage:
    usage = manage("rebuild_projection", CONSUMER, "--json", log="rebuild")
    built = ask(f"SELECT coalesce(sum(orders), 0) FROM {Sales._meta.db_table}")
    if built != events:
        raise RuntimeError(f"The view has {built} orders of {events}.")
    return usage


def loop(count: int) -> float:
    """The loop that one writes by hand, in a single transaction; returns events per second."""
    began = monotonic()
    with transaction.atomic():
        LoopSales.objects.all().delete()
        for event in ArchivedEvent.objects.filter(type=OrderSold.type).order_by("id")[:count].iterator():
            sales, _ = LoopSales.objects.get_or_create(
                day=event.occurred_at.date(), defaults={"orders": 0, "revenue": Decimal(0)}
            )
            sales.orders += 1
            sales.revenue += event.data["totalAmount"]
            sales.save()
    return count / (monotonic() - began)
