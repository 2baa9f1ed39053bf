"""How fast a full outbox empties, against publishing the same messages without a database."""

from collections.abc import Sequence
from statistics import median
from time import monotonic, sleep

from django.conf import settings
from django.db import connection, transaction
from kombu import Connection

from eventbus import publish
from eventbus.broker.publisher import ConfirmingPublisher, Outgoing
from eventbus.relay.relay import BATCH
from script._lib.waiting import wait_until
from tools.benchmarks import broker
from tools.benchmarks.archive import stored
from tools.benchmarks.events import OrderFanned
from tools.benchmarks.measure import Result, alternate, ask
from tools.benchmarks.running import running, wait_ready
from tools.benchmarks.samples import order_event
from tools.benchmarks.usage import peak_memory_mb

QUEUES = [f"fan.out_{number}" for number in range(1, 5)]
MEMORY_LIMIT_MB = 150

# Through publish() a million would take minutes. The id begins with the time, as a UUIDv7 does.
FILL = """
WITH new AS MATERIALIZED (
    SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
            || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid AS id
    FROM generate_series(1, %s)
), archived AS (
    INSERT INTO event (id, type, version, aggregate_type, aggregate_id, sequence, occurred_at, correlation_id, data)
    SELECT new.id, type, version, aggregate_type, new.id, 1, now(), new.id, data
    FROM new, (SELECT * FROM event WHERE type = %s LIMIT 1) AS sample
)
INSERT INTO outbox (event_id, aggregate_id) SELECT id, id FROM new
"""
FIRST = "SELECT min(position) FROM outbox"


def run(*, quick: bool) -> list[Result]:
    events, singles, waiting, rounds = (500, 100, 30_000, 1) if quick else (10_000, 2_000, 1_000_000, 4)
    broker.declare()
    with running("relay") as relay:
        wait_ready(relay)
        drain(events)
        messages = stored(OrderFanned, events)
        rates = alternate(
            rounds, lambda: drain(events), lambda: pipelined(messages), lambda: one_by_one(messages[:singles])
        )
        ours, windows, confirm_each = (median(side) for side in rates)
        peak = peak_memory_mb(relay.pid)
        backlog = drain_for(0.5 if quick else 10, waiting=waiting)
        peak_of_many = peak_memory_mb(relay.pid)
    return [
        Result("relay", ours, windows, "events/s", wanted=0.7),
        Result("relay_per_message_confirm", ours, confirm_each, "events/s", wanted=1.0),
        Result("relay_backlog", backlog, windows, "events/s"),
        Result("relay_memory_mb", peak_of_many, MEMORY_LIMIT_MB, "MB", wanted=1.0, less_is_better=True),
        Result("relay_memory_growth", peak_of_many, peak, "MB", wanted=0.9, less_is_better=True),
    ]


def drain(count: int) -> float:
    """Record events and let the waiting relay publish them; returns events per second from the commit on."""
    events = [order_event(OrderFanned) for _ in range(count)]
    with transaction.atomic():
        for start in range(0, count, BATCH):
            publish(*events[start : start + BATCH])
    began = monotonic()
    wait_until(lambda: not ask("SELECT EXISTS (SELECT FROM outbox)"), 60, "the outbox to be empty", every=0.02)
    rate = count / (monotonic() - began)
    broker.purge(*QUEUES)
    return rate


def drain_for(seconds: float, *, waiting: int) -> float:
    """The relay's rate in the first seconds of a far larger outbox."""
    with connection.cursor() as cursor:
        cursor.execute(FILL, [waiting, OrderFanned.type])
    first = ask(FIRST)
    wait_until(lambda: ask(FIRST) > first, 60, "the relay to begin with the full outbox", every=0.02)
    first, began = ask(FIRST), monotonic()
    sleep(seconds)
    last, ended = ask(FIRST), monotonic()
    return float(last - first) / (ended - began)


def pipelined(messages: Sequence[Outgoing]) -> float:
    """Messages per second in the relay's windows, without its database work."""
    publisher = ConfirmingPublisher(settings.EVENTBUS_BROKER_URL)
    publisher.send(messages[:1])
    began = monotonic()
    for start in range(0, len(messages), BATCH):
        publisher.send(messages[start : start + BATCH])
    rate = len(messages) / (monotonic() - began)
    publisher.close()
    broker.purge(*QUEUES)
    return rate


def one_by_one(messages: Sequence[Outgoing]) -> float:
    """Messages per second where each waits for its confirm, as kombu offers it."""
    with Connection(settings.EVENTBUS_BROKER_URL, transport_options={"confirm_publish": True}) as plain:
        producer = plain.Producer()
        began = monotonic()
        for message in messages:
            rest = dict(message.properties)
            headers = rest.pop("application_headers")
            producer.publish(
                message.body, message.routing_key, exchange=message.exchange, headers=headers, mandatory=True, **rest
            )
        rate = len(messages) / (monotonic() - began)
    broker.purge(*QUEUES)
    return rate
