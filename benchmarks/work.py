"""Working off a full queue: the same stopwatch for our workers and for plain Celery's."""

from benchmarks import broker
from benchmarks.measure import ask, until
from benchmarks.processes import running

# Either inbox notes when the transaction of a row began. Counted is what began before the last of them did.
RATE = """
WITH done AS (SELECT processed_at, max(processed_at) OVER () AS last FROM {inbox} WHERE consumer = %s)
SELECT count(*) FILTER (WHERE processed_at < last) / extract(epoch FROM max(last) - min(processed_at))::float8 FROM done
"""


def our_worker(consumer: str) -> str:
    """The command of a worker for this consumer alone."""
    return f"python manage.py worker {consumer.partition('.')[0]} --only {consumer}"


def work_off(command: str, *, queue: str, count: int, inbox: str, **env: str) -> float:
    """Start the worker on its queue, which is full already, and wait until all is done; returns events per second."""
    until(f"{queue} holds {count} messages", lambda: broker.ready(queue) == count)
    with running(command, log=queue, **env) as worker:

        def is_done() -> bool:
            worker.check()
            return bool(ask(f"SELECT count(*) FROM {inbox} WHERE consumer = %s", queue) == count)

        until(f"{queue} is worked off", is_done, every=0.2)
    return float(ask(RATE.format(inbox=inbox), queue))
