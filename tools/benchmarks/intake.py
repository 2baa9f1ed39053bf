"""How fast orders are taken in, against a bare view on the same server that inserts the same rows."""

import asyncio
from dataclasses import dataclass
from statistics import median
from time import monotonic

from orders.models import Order, OrderItem
from script._lib.process import Process
from tools.benchmarks.load import flat_out
from tools.benchmarks.measure import Result, alternate, ask, percentile
from tools.benchmarks.running import running, wait_ready
from tools.benchmarks.samples import token
from tools.benchmarks.usage import cpu_seconds


@dataclass(frozen=True)
class Round:
    """One round of one view. CPU is the web processes' alone."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


def run(*, quick: bool) -> list[Result]:
    seconds, rounds = (0.3, 1) if quick else (3.0, 5)
    secret = token()
    with running("web") as web:
        wait_ready(web)
        for path in ("/api/v1/orders", "/plain/orders"):
            post(web, path, secret, seconds / 2)
        sides = alternate(
            rounds,
            lambda: post(web, "/api/v1/orders", secret, seconds),
            lambda: post(web, "/plain/orders", secret, seconds),
        )
    check()

    def result(name: str, field: str, unit: str, *, wanted: float | None = None, less_is_better: bool = True) -> Result:
        ours, plain = (median([getattr(each, field) for each in side]) for side in sides)
        return Result(name, ours, plain, unit, wanted=wanted, less_is_better=less_is_better)

    return [
        result("intake", "rate", "orders/s", wanted=1.0, less_is_better=False),
        result("intake_p50", "p50_ms", "ms"),
        result("intake_p99", "p99_ms", "ms"),
        result("intake_cpu_us", "cpu_us", "µs"),
    ]


def post(web: Process, path: str, secret: str, seconds: float) -> Round:
    """Place orders for so long."""
    cpu, began = cpu_seconds(web.pid), monotonic()
    latencies = asyncio.run(flat_out(path, secret, seconds))
    elapsed = monotonic() - began
    return Round(
        rate=len(latencies) / elapsed,
        p50_ms=percentile(latencies, 50) * 1000,
        p99_ms=percentile(latencies, 99) * 1000,
        cpu_us=(cpu_seconds(web.pid) - cpu) / len(latencies) * 1e6,
    )


def check() -> None:
    """Both views stored whole orders, and only ours recorded events."""
    orders, lines = Order.objects.count(), OrderItem.objects.count()
    events, ours = ask("SELECT count(*) FROM event"), Order.objects.exclude(correlation_id="").count()
    if lines != 3 * orders or events != ours:
        raise RuntimeError(f"{orders} orders with {lines} lines, {ours} of them ours with {events} events.")
