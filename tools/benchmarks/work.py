"""Working off a full queue: the same stopwatch for our workers and for plain Celery's."""

from time import monotonic

from script._lib.waiting import wait_until
from tools.benchmarks import broker
from tools.benchmarks.measure import ask
from tools.benchmarks.running import running, wait_for

#: Seconds for one round. A slow machine does less work, not longer.
LONGEST = 15

# Either inbox notes when the transaction of a row began. Counted is what began before the last of them did.
RATE = """
WITH done AS (SELECT processed_at, max(processed_at) OVER () AS last FROM {inbox} WHERE consumer = %s)
SELECT count(*) FILTER (WHERE processed_at < last) / extract(epoch FROM max(last) - min(processed_at))::float8 FROM done
"""


def our_worker(consumer: str) -> str:
    """The command of a worker for this consumer alone."""
    return f"python manage.py worker {consumer.partition('.')[0]} --only {consumer}"


def work_off(command: str, *, queue: str, count: int, inbox: str, **env: str) -> float:
    """Start the worker on its queue, which is full already, until all is done or the time is up; returns events per
    second."""
    wait_until(lambda: broker.ready(queue) == count, 60, f"{queue} to hold {count} messages")
    with running(queue, command, **env) as worker:
        end = monotonic() + LONGEST

        def is_over() -> bool:
            return monotonic() > end or done(inbox, queue) == count

        wait_for(worker, is_over, f"{queue} to be worked off", seconds=2 * LONGEST)
    broker.purge(queue)
    return float(ask(RATE.format(inbox=inbox), queue))


def done(inbox: str, consumer: str) -> int:
    """How many events this consumer has processed."""
    count: int = ask(f"SELECT count(*) FROM {inbox} WHERE consumer = %s", consumer)
    return count
