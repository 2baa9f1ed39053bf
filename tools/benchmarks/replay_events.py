"""How fast `replay_events` takes the archive through the broker to a consumer, against the same worker on plain
deliveries."""

from statistics import mean

from django.db import connection

from eventbus.testing import empty_bus
from script._lib.waiting import wait_until
from tools.benchmarks import archive, broker
from tools.benchmarks.command import manage
from tools.benchmarks.consume import check
from tools.benchmarks.events import OrderTallied
from tools.benchmarks.measure import Result, ask
from tools.benchmarks.replay_dead_letters import deliver
from tools.benchmarks.running import running, wait_for
from tools.benchmarks.work import done, our_worker

CONSUMER = "bench.tally"
TOOK = """
SELECT extract(epoch FROM max(p.processed_at) - r.created_at)::float8
FROM event_replay r, processed_event p WHERE p.consumer = %s GROUP BY r.id
"""


def run(*, quick: bool) -> list[Result]:
    few, many, plain = (500, 1_000, 100) if quick else (5_000, 50_000, 10_000)
    broker.declare()
    with running(CONSUMER, our_worker(CONSUMER)) as worker:
        wait_for(worker, lambda: bool(broker.consumers(CONSUMER)), "the worker to be there")
        _, few_mb = replay(few)
        before = deliver(plain)
        # So long that it is its own average: one round of it between two of the baseline.
        rate, many_mb = replay(many)
        after = deliver(plain)
    return [
        Result("replay_events", rate, mean([before, after]), "events/s"),
        Result("replay_events_memory_mb", many_mb, few_mb, "MB", less_is_better=True),
    ]


def replay(count: int) -> tuple[float, float]:
    """Replay so many events to the worker that runs: events per second from the start to the last effect, and the most
    memory that the command held, in MB."""
    empty_bus()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE event_replay, benchmarks_tally")
    archive.record(OrderTallied, count, per_order=5)
    with connection.cursor() as cursor:
        # What autovacuum would do by the time that somebody looks.
        cursor.execute("ANALYZE event, processed_event")
    usage = manage("replay_events", "--to", CONSUMER, log="replay_events")
    wait_until(lambda: done("processed_event", CONSUMER) == count, 60, "the last events to be handled")
    check(count)
    return count / float(ask(TOOK, CONSUMER)), usage.peak_mb
