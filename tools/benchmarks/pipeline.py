"""A whole order, from POST until every effect of it is committed and its mail handed over: with the processes of the
Procfile, against plain Celery that does the same without any promise."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import monotonic

from django.db import connection

from eventbus.db.sql import fetch
from script._lib import procfile
from script._lib.process import Process
from script._lib.waiting import wait_until
from tools.benchmarks import broker, plain
from tools.benchmarks.end_to_end import TELL
from tools.benchmarks.load import flat_out, steadily
from tools.benchmarks.measure import Result, ask, percentile
from tools.benchmarks.running import running, wait_ready
from tools.benchmarks.samples import fill_shelves, token
from tools.benchmarks.usage import cpu_seconds, shared_memory_mb
from tools.harness.servers import Servers

#: Orders per second at which the latencies are taken.
CALM = 20

#: Each must have grown by one for each order.
EFFECTS = {
    "confirmed": "SELECT count(*) FROM orders_order WHERE status = 'CONFIRMED'",
    "reserved": "SELECT count(DISTINCT order_id) FROM inventory_reservation",
    "prepared": "SELECT count(*) FROM shipping_shipment WHERE state = 'PREPARED'",
    "mailed": "SELECT count(*) FROM notifications_mail WHERE state = 'SENT'",
    "looked at for fraud": "SELECT count(*) FROM consumers_fraudorder",
    "counted by day": "SELECT coalesce(sum(least(created_orders, confirmed_orders)), 0) FROM analytics_salesbyday",
    "counted by product": "SELECT coalesce(sum(confirmed_quantity), 0) / 6 FROM analytics_salesbyproduct",
    "in its customer's history": "SELECT count(*) FROM analytics_customerorder WHERE status = 'CONFIRMED'",
    "in fulfilment": "SELECT count(created_at + (confirmed_at - created_at)) FROM analytics_fulfilment",
}
MAIL_DELAYS = """
SELECT extract(epoch FROM mail.sent_at - placed.created_at)::float8 * 1000
FROM notifications_mail mail JOIN orders_order placed ON placed.id = mail.order_id WHERE placed.created_at > %s
"""
COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"

#: Where the CPU time goes, by the beginnings of the processes' names: each has its counterpart.
SHARES = {
    "web": ("web",),
    "workers": ("worker", "relay", "beat"),
    "flower": ("flower",),
    "postgres": ("postgres",),
    "rabbitmq": ("rabbitmq",),
    "mail": ("mail",),
}


@dataclass(frozen=True)
class Round:
    """One round of one side. Milliseconds of CPU per order by process, from the kernel."""

    rate: float
    cpu_ms: Mapping[str, float]
    commits: float
    memory_mb: float
    confirmed_ms: list[float]
    mailed_ms: list[float]


def run(*, quick: bool) -> list[Result]:
    full, calm, rounds = (1.0, 1.0, 1) if quick else (8.0, 10.0, 2)
    broker.declare()
    fill_shelves()
    with connection.cursor() as cursor:
        cursor.execute(TELL)
    secret = token()
    # Not in turns within a round: either side's processes are many, and would take memory and time from the other.
    sides: dict[str, list[Round]] = {"ours": [], "plain": []}
    for number in range(rounds):
        for name in list(sides) if number % 2 == 0 else reversed(sides):
            sides[name].append(measure(name, secret, full, calm))
    return results(sides["ours"], sides["plain"])


def measure(name: str, secret: str, full: float, calm: float) -> Round:
    """One side: at full load, then at a calm rate."""
    path, processes = {
        "ours": ("/api/v1/orders", procfile.commands()),
        "plain": ("/plain/orders-with-effects", plain_processes()),
    }[name]
    with all_running(processes) as started:
        place(path, secret, full / 4)
        before, commits = cpu_by_process(started), ask(COMMITS)
        began = monotonic()
        orders = place(path, secret, full)
        took = monotonic() - began
        spent = {each: seconds - before[each] for each, seconds in cpu_by_process(started).items()}
        commits = ask(COMMITS) - commits
        memory = sum(shared_memory_mb(pid) for pid in pids(started).values())
        moment = ask("SELECT now()")
        wanted = {effect: count + int(CALM * calm) for effect, count in effects().items()}
        confirmed = asyncio.run(steadily(path, secret, rate=CALM, seconds=calm))
        await_effects(wanted)
        return Round(
            rate=orders / took,
            cpu_ms={each: seconds * 1000 / orders for each, seconds in spent.items()},
            commits=commits / orders,
            memory_mb=memory,
            confirmed_ms=[1000 * seconds for seconds in confirmed],
            mailed_ms=[milliseconds for (milliseconds,) in fetch(MAIL_DELAYS, [moment])],
        )


def plain_processes() -> dict[str, str]:
    """What one runs of plain Celery: the web server, one worker for all tasks, and Flower."""
    commands = procfile.commands()
    flower = commands["flower"].replace("-A config", "-A tools.benchmarks.plain")
    return {"web": commands["web"], "worker_plain": plain.worker(plain.EFFECTS), "flower": flower}


@contextmanager
def all_running(commands: Mapping[str, str]) -> Iterator[list[Process]]:
    with ExitStack() as stack:
        started = [stack.enter_context(running(name, command)) for name, command in commands.items()]
        for process in started:
            wait_ready(process)
        yield started


def place(path: str, secret: str, seconds: float) -> int:
    """Place orders for so long, as fast as they are answered, and wait until every effect is there; returns how many
    orders."""
    before = effects()
    orders = len(asyncio.run(flat_out(path, secret, seconds)))
    await_effects({effect: count + orders for effect, count in before.items()})
    return orders


def effects() -> dict[str, int]:
    return {effect: int(ask(count)) for effect, count in EFFECTS.items()}


def await_effects(wanted: Mapping[str, int]) -> None:
    """Wait until each effect is there as often as wanted. Raises TimeoutError, saying which is not."""

    def are_there() -> bool:
        # The last one alone, first: to ask for all is work for the server that is measured.
        return int(ask(EFFECTS["mailed"])) >= wanted["mailed"] and effects() == wanted

    wait_until(are_there, 300, f"the effects {wanted}", every=0.2)
    wait_until(lambda: ask("SELECT count(*) FROM outbox") == 0, 60, "the outbox to be empty")


def pids(processes: list[Process]) -> dict[str, int]:
    """The processes and the servers that they use."""
    servers = Servers()
    return {process.name: process.pid for process in processes} | {
        name: pid for name in servers.services if (pid := servers.pid(name)) is not None
    }


def cpu_by_process(processes: list[Process]) -> dict[str, float]:
    return {name: cpu_seconds(pid) for name, pid in pids(processes).items()}


def results(ours: list[Round], celery: list[Round]) -> list[Result]:
    """The figures of the table, and of each process that ours has."""

    def sides(figure: Callable[[Round], float]) -> tuple[float, float]:
        return median(map(figure, ours)), median(map(figure, celery))

    def less(name: str, unit: str, figure: Callable[[Round], float]) -> Result:
        return Result(f"pipeline_{name}", *sides(figure), unit=unit, less_is_better=True)

    def cpu(each: Round, kinds: tuple[str, ...]) -> float:
        return sum(ms for name, ms in each.cpu_ms.items() if name.partition("_")[0] in kinds)

    shares = [less(f"cpu_{name}", "ms", partial(cpu, kinds=kinds)) for name, kinds in SHARES.items()]
    return [
        Result("pipeline", *sides(lambda each: each.rate), unit="orders/s", wanted=5.0),
        less("cpu", "ms", lambda each: sum(each.cpu_ms.values())),
        *shares,
        less("commits", "an order", lambda each: each.commits),
        less("memory", "MB", lambda each: each.memory_mb),
        less("confirmed_p50", "ms", lambda each: percentile(each.confirmed_ms, 50)),
        less("confirmed_p99", "ms", lambda each: percentile(each.confirmed_ms, 99)),
        less("mailed_p50", "ms", lambda each: percentile(each.mailed_ms, 50)),
        less("mailed_p99", "ms", lambda each: percentile(each.mailed_ms, 99)),
    ]
