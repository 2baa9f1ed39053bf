"""How fast `replay_events` takes the archive through the broker to a consumer, against the same worker on plain
deliveries."""

from statistics import mean

from django.db import connection

from benchmarks import archive, broker
from benchmarks.command import manage
from benchmarks.consume import check
from benchmarks.events import OrderTallied
from benchmarks.measure import Result, ask, until
from benchmarks.processes import running
from benchmarks.replay_dead_letters import deliver
from benchmarks.work import done, our_worker
from eventbus.testing import empty_bus

CONSUMER = "bench.tally"
TOOK = """
SELECT extract(epoch FROM max(p.processed_at) - r.created_at)::float8
FROM event_replay r, processed_event p WHERE p.consumer = %s GROUP BY r.id
"""


def run(*, quick: bool) -> list[Result]:
    few, many, plain = (500, 1_000, 100) if quick else (5_000, 50_000, 10_000)
    broker.declare()
    with running(our_worker(CONSUMER), log=CONSUMER) as worker:
        until("the worker is there", lambda: bool(broker.consumers(CONSUMER)))
        _, few_mb = replay(few)
        before = deliver(plain)
        # So long that it is its own average: one round of it between two of the baseline.
        rate, many_mb = replay(many)
        after = deliver(plain)
        worker.check()
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
    until("the last events are handled", lambda: done("processed_event", CONSUMER) == count, every=0.2)
    check(count)
    return count / float(ask(TOOK, CONSUMER)), usage.peak_mb
