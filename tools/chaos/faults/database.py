"""Somebody's session that was left open."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tools.chaos.customers import HOT, PLENTY
from tools.chaos.kinds import Fault, NothingToHit, Scene, kind

LOCK_STOCK = "SELECT product_id FROM inventory_stock WHERE product_id = %s FOR UPDATE SKIP LOCKED"
LOCK_ORDER = """
SELECT id::text FROM orders_order WHERE status = 'CREATED' ORDER BY id DESC LIMIT 1 FOR UPDATE SKIP LOCKED
"""


@kind("lock", {"a product": 2, "an order": 2}, lasts=(5, 45))
@contextmanager
def forgotten_lock(scene: Scene, fault: Fault) -> Iterator[set[str]]:
    """A transaction that keeps a row and does nothing. Orders for this product, or this order, may wait for it."""
    products = (*PLENTY, HOT)
    somebody = psycopg.connect(scene.stage.lab.database_url, connect_timeout=5)
    try:
        if fault.target == "a product":
            found = somebody.execute(LOCK_STOCK, [products[int(fault.pick * len(products))]]).fetchall()
        else:
            found = somebody.execute(LOCK_ORDER).fetchall()
        if not found:
            raise NothingToHit
        yield {name for (name,) in found}
    finally:
        somebody.close()
