"""What the stock of a product was at moments of a year with a million events, against what it is now, over HTTP."""

import json
import os
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from statistics import median
from time import monotonic
from typing import Any
from urllib.parse import quote

from django.db import connection

from eventbus.archive.partitions import ensure_partitions, month_start
from inventory.history import Quantities
from inventory.past import stock_as_of
from inventory.snapshots import make_snapshots
from tools.benchmarks.measure import Result, alternate, percentile
from tools.benchmarks.running import running, wait_ready
from tools.benchmarks.samples import token

PRODUCT = "P-000"
MONTHS = 12

# Received once, then set aside and sent off in turn. Ids begin with the moment, as a UUIDv7's do.
FILL = """
WITH told AS MATERIALIZED (
    SELECT number, %(first)s::timestamptz + (number - 1) * %(step)s::interval AS moment
    FROM generate_series(1, %(events)s::int) AS number
)
INSERT INTO event (id, type, version, aggregate_type, aggregate_id, sequence, occurred_at, correlation_id, data)
SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0')
        || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid,
       CASE WHEN number = 1 THEN 'inventory.stock.received' WHEN number %% 2 = 0 THEN 'inventory.stock.reserved'
            ELSE 'inventory.stock.shipped' END,
       '1.0', 'product', %(product)s, number, moment, 'bench',
       jsonb_build_object('productId', %(product)s::text, 'orderId', gen_random_uuid(),
                          'quantity', CASE WHEN number = 1 THEN %(events)s::int ELSE 1 END)
FROM told
"""
STOCK = """
INSERT INTO inventory_stock (product_id, product_name, available, reserved, shipped, received, low_threshold)
VALUES (%s, 'Sample product', %s, %s, %s, %s, 10)
"""


def run(*, quick: bool) -> list[Result]:
    events, requests, rounds = (10_000, 50, 1) if quick else (1_000_000, 300, 5)
    first = month_start(datetime.now(UTC), -MONTHS)
    step = (datetime.now(UTC) - first) / (events + 1)
    fill(events, first, step)
    check(events, first, step)
    secret = token()
    dice = random.Random(1)
    now = f"/api/v1/stock/{PRODUCT}"

    def then() -> str:
        moment = first + step * dice.uniform(0, events)
        return f"{now}?asOf={quote(moment.isoformat())}"

    with running("web") as web:
        wait_ready(web)
        read(secret, [now, then()] * requests)
        past, present = alternate(
            rounds,
            lambda: read(secret, (then() for _ in range(requests))),
            lambda: read(secret, [now] * requests),
        )

    def result(name: str, percent: float, wanted: float | None) -> Result:
        ours, plain = (median([percentile(each, percent) for each in side]) * 1000 for side in (past, present))
        return Result(name, ours, plain, "ms", wanted=wanted, less_is_better=True)

    # Within three times.
    return [result("as_of_p50", 50, 0.33), result("as_of_p99", 99, None)]


def fill(events: int, first: datetime, step: timedelta) -> None:
    """A product with so many events, and its snapshots."""
    for ahead in range(MONTHS + 1):
        ensure_partitions(month_start(first, ahead))
    sold, sent = events // 2, (events - 1) // 2
    filling: dict[str, Any] = {"events": events, "first": first, "step": step, "product": PRODUCT}
    with connection.cursor() as cursor:
        cursor.execute(FILL, filling)
        cursor.execute("INSERT INTO stream VALUES ('product', %s, %s)", [PRODUCT, events])
        cursor.execute(STOCK, [PRODUCT, events - sold, sold - sent, sent, events])
        cursor.execute("VACUUM (ANALYZE) event")
    make_snapshots()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) inventory_stocksnapshot")


def check(events: int, first: datetime, step: timedelta) -> None:
    """The answers are right, whatever they cost."""
    for number in (1, 2, events // 3, events - 1, events):
        found = stock_as_of(PRODUCT, first + step * (number - 0.5))
        sold, sent = number // 2, (number - 1) // 2
        if found is None or found.stock != Quantities(events - sold, sold - sent, sent):
            raise RuntimeError(f"After event {number} there is {found}.")


def read(secret: str, paths: Iterable[str]) -> list[float]:
    """GET each, one after the other over one connection; returns the seconds that each took."""
    web = HTTPConnection("127.0.0.1", int(os.environ["PORT"]), timeout=30)
    latencies = []
    for path in paths:
        began = monotonic()
        web.request("GET", path, headers={"Authorization": f"Bearer {secret}"})
        answer = web.getresponse()
        body = answer.read()
        latencies.append(monotonic() - began)
        if answer.status != 200 or json.loads(body)["productId"] != PRODUCT:
            raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
    web.close()
    return latencies
