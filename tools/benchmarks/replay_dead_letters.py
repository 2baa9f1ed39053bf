"""How fast `replay_dead_letters` works off a full table of letters, against the same worker on plain deliveries."""

from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import mean

from django.db import connection

from eventbus.dead_letters.message import DeadMessage, read_message
from eventbus.dead_letters.store import ingest
from eventbus.declaration import CONSUMERS
from eventbus.errors import Reason
from eventbus.worker.delivery import Delivery
from eventbus.worker.failures import GiveUp, dead_message
from script._lib.waiting import wait_until
from tools.benchmarks import broker
from tools.benchmarks.command import manage
from tools.benchmarks.consume import check
from tools.benchmarks.events import OrderTallied
from tools.benchmarks.measure import Result, ask
from tools.benchmarks.running import running, wait_for
from tools.benchmarks.samples import order_message
from tools.benchmarks.work import done, our_worker

CONSUMER = "bench.tally"
BATCH = 200

# Frozen is the set when the first letter is taken out of it.
TOOK = """
SELECT r.total, extract(epoch FROM min(i.sent_at) - r.created_at)::float8,
       extract(epoch FROM max(i.settled_at) - r.created_at)::float8
FROM replay r JOIN replay_item i ON i.replay_id = r.id WHERE i.outcome = 'replayed' GROUP BY r.id
"""
SINCE = "SELECT extract(epoch FROM max(processed_at) - %s)::float8 FROM processed_event WHERE consumer = %s"


@dataclass(frozen=True)
class Replayed:
    """One replay. Frozen and settled are letters per second since the start."""

    frozen: float
    settled: float
    peak_mb: float


def run(*, quick: bool) -> list[Result]:
    many, plain = (300, 100) if quick else (100_000, 10_000)
    broker.declare()
    with running(CONSUMER, our_worker(CONSUMER)) as worker:
        wait_for(worker, lambda: bool(broker.consumers(CONSUMER)), "the worker to be there")
        few = replay(many // 10)
        before = deliver(plain)
        # So long that it is its own average: one round of it between two of the baseline.
        all_of_them = replay(many)
        after = deliver(plain)
    return [
        Result("replay_dead_letters", all_of_them.settled, mean([before, after]), "letters/s"),
        Result("replay_dead_letters_freeze", all_of_them.frozen, few.frozen, "letters/s"),
        Result("replay_dead_letters_memory_mb", all_of_them.peak_mb, few.peak_mb, "MB", less_is_better=True),
    ]


def replay(count: int) -> Replayed:
    """Replay so many letters through the worker that runs, until the last has had its effect."""
    empty()
    fill(count)
    usage = manage("replay_dead_letters", "--consumer", CONSUMER, log="replay")
    with connection.cursor() as cursor:
        cursor.execute(TOOK)
        ((total, freezing, settling),) = cursor.fetchall()
    if total != count:
        raise RuntimeError(f"{total} of {count} letters were replayed.")
    check(count)
    return Replayed(total / freezing, total / settling, usage.peak_mb)


def deliver(count: int) -> float:
    """Events per second of the same worker where they are published plainly, from the first publish to the last row."""
    empty()
    messages = [order_message(OrderTallied, CONSUMER) for _ in range(count)]
    began = ask("SELECT clock_timestamp()")
    broker.send(messages)
    wait_until(lambda: done("processed_event", CONSUMER) == count, 60, "the deliveries to be handled")
    check(count)
    return count / float(ask(SINCE, began, CONSUMER))


def empty() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE dead_letter, dead_letter_group, replay, processed_event, benchmarks_tally CASCADE")


def fill(count: int) -> None:
    """Store so many letters, each of an event of its own, as the ingester does."""
    for start in range(0, count, BATCH):
        ingest([letter() for _ in range(min(BATCH, count - start))])
    # What autovacuum would do by the time that somebody looks.
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE dead_letter, processed_event")


def letter() -> DeadMessage:
    """A letter as the worker writes it and the ingester reads it."""
    message = order_message(OrderTallied, CONSUMER)
    assert isinstance(message.body, bytes)
    now = datetime.now(UTC)
    delivery = Delivery(message.body, message.properties["application_headers"], message.properties)
    dead = dead_message(
        CONSUMERS[CONSUMER], delivery, GiveUp(Reason.EXHAUSTED), ConnectionError("The shop is shut."), now
    )
    return read_message(CONSUMER, message.body, dead.properties["application_headers"], dead.properties, now=now)
