"""Inventory's own reservation: orders with three lines each, in batches and one per transaction."""

from statistics import median

from django.db import connection

from inventory.models import Reservation
from orders.events import OrderCreated
from tools.benchmarks import broker
from tools.benchmarks.measure import Result, alternate
from tools.benchmarks.samples import fill_shelves, order_message
from tools.benchmarks.work import done, our_worker, work_off

CONSUMER = "inventory.reserve_stock"


def run(*, quick: bool) -> list[Result]:
    many, few, rounds = (300, 50, 1) if quick else (5_000, 1_000, 3)
    broker.declare()
    rates = alternate(rounds, lambda: reserve(many), lambda: reserve(few, BENCH_BATCH="1"))
    batched, single = (median(side) for side in rates)
    return [Result("reserve_stock", batched, single, "events/s")]


def reserve(count: int, **env: str) -> float:
    """Orders per second, each with its reservation and the event that reports it."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE processed_event, inventory_reservation, inventory_stock, stream, outbox")
    fill_shelves()
    broker.send([order_message(OrderCreated, CONSUMER) for _ in range(count)])
    rate = work_off(our_worker(CONSUMER), queue=CONSUMER, count=count, inbox="processed_event", **env)
    lines, orders = Reservation.objects.filter(state="RESERVED").count(), done("processed_event", CONSUMER)
    if lines != 3 * orders:
        raise RuntimeError(f"{lines} reserved lines for {orders} orders of 3.")
    return rate
