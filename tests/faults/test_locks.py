"""Somebody keeps a row of the stock locked: what needs that row waits, and nothing else does."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.support import effects
from tests.support.bus import LiveBus
from tests.support.stock import receive
from tools.harness.mail import MailSink
from tools.harness.shop import Shop, Wish

pytestmark = [pytest.mark.live, pytest.mark.faults]


@contextmanager
def locked(bus: LiveBus, product: str) -> Iterator[None]:
    """Inside, a session outside the product has this product's row for itself."""
    with psycopg.connect(bus.database_url) as other:
        other.execute("SELECT FROM inventory_stock WHERE product_id = %s FOR UPDATE", [product])
        yield
        other.rollback()


def confirmed(shop: Shop, wishes: list[Wish]) -> int:
    return [shop.status(wish.order_id) for wish in wishes if wish.order_id].count("CONFIRMED")


def test_orders_for_other_products_are_confirmed_while_one_product_is_locked(
    pipeline: LiveBus, shop: Shop, mail_sink: MailSink
) -> None:
    contested, free = receive(100), receive(100)
    with locked(pipeline, contested):
        wishes = [shop.order(product) for _ in range(10) for product in (contested, free)]
        shop.place_all(wishes)
        waiting, others = wishes[::2], wishes[1::2]
        pipeline.wait_for(lambda: confirmed(shop, others) == 10, "the other product's orders", 20)
        late = [shop.order(free) for _ in range(10)]
        shop.place_all(late)
        pipeline.wait_for(lambda: confirmed(shop, late) == 10, "those that came later", 20)
        assert confirmed(shop, waiting) == 0
    pipeline.wait_for(lambda: confirmed(shop, waiting) == 10, "the orders that waited", 60)
    assert set(effects.check(pipeline, shop, mail_sink).values()) == {"CONFIRMED"}
    # Waiting has used no attempt.
    assert pipeline.query(
        "SELECT DISTINCT attempts FROM processed_event WHERE consumer = 'inventory.reserve_stock'"
    ) == [(1,)]
