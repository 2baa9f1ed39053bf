"""Whatever order and grouping the events come in, the read models end the same."""

import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.consumers import customer_orders, fulfilment, sales_by_day, sales_by_product
from analytics.models import CustomerOrder, Fulfilment, SalesByDay, SalesByProduct
from analytics.tests.builders import CONSUMERS, JUG, NOON, VASE, story
from eventbus import Event
from eventbus.testing import deliver
from orders.events import Adjustment

pytestmark = pytest.mark.django_db


def as_text() -> str:
    """All tables, as the database would write them out."""
    with connection.cursor() as cursor:
        found = []
        for model in CONSUMERS.values():
            table = model._meta.db_table
            cursor.execute(f"SELECT coalesce(json_agg(t ORDER BY t::text), '[]')::text FROM {table} t")
            found.append(cursor.fetchone()[0])
    return "\n".join(found)


def deliver_everywhere(events: Sequence[Event]) -> None:
    for consumer in CONSUMERS:
        if wanted := [event for event in events if event.routing_key() in consumer.routing_keys]:
            deliver(wanted, to=consumer)


def test_each_day_has_its_own_columns_for_what_happened_on_it() -> None:
    deliver(story("created", "confirmed", "shipped", every=timedelta(hours=8)), to=sales_by_day)
    deliver(story("created", "rejected", currency="JPY", items=(JUG,)), to=sales_by_day)
    first, yen, next_day = SalesByDay.objects.order_by("day", "-currency")
    assert (first.id, first.created_orders, first.created_amount) == ("2026-03-01/USD", 1, Decimal("45.30"))
    assert (first.confirmed_orders, first.shipped_orders) == (1, 0)
    assert (next_day.id, next_day.shipped_orders, next_day.shipped_amount) == ("2026-03-02/USD", 1, Decimal("45.30"))
    assert (next_day.created_orders, next_day.created_amount) == (0, 0)
    assert (yen.id, yen.rejected_orders, yen.cancelled_orders) == ("2026-03-01/JPY", 1, 0)


def test_sales_are_net_of_discounts_and_tax_and_charges_stand_apart() -> None:
    added = [("discount", "-5.30"), ("tax", "3.20"), ("shipping", "4.90"), ("fee", "1.00"), ("rounding", "-0.05")]
    adjustments = tuple(Adjustment(kind=kind, label=kind, amount=Decimal(amount)) for kind, amount in added)
    events = story("created", "confirmed", adjustments=adjustments)
    deliver(events, to=sales_by_day)
    deliver(events, to=customer_orders)
    day = SalesByDay.objects.get()
    assert (day.created_amount, day.created_tax, day.created_charges) == (
        Decimal("40.00"),
        Decimal("3.20"),
        Decimal("5.85"),
    )
    assert (day.confirmed_amount, day.confirmed_tax, day.shipped_tax) == (Decimal("40.00"), Decimal("3.20"), 0)
    assert CustomerOrder.objects.get().total_amount == Decimal("49.05")


def test_amounts_keep_the_decimals_that_they_came_with() -> None:
    deliver(story("created", items=(JUG, JUG)), to=sales_by_day)
    assert str(SalesByDay.objects.get().created_amount) == "11.00"


def test_products_are_counted_by_piece_and_bear_their_newest_name() -> None:
    renamed = VASE.model_copy(update={"product_name": "Tall vase"})
    older = story("created", "confirmed", items=(VASE, VASE, JUG))
    newer = story("created", "cancelled", items=(renamed,), began=NOON + timedelta(hours=1))
    deliver([*newer, *older], to=sales_by_product)
    vase = SalesByProduct.objects.get(product_id="vase")
    assert (vase.product_name, vase.created_quantity, vase.created_amount) == ("Tall vase", 6, Decimal("119.40"))
    assert (vase.confirmed_quantity, vase.cancelled_quantity, vase.shipped_quantity) == (4, 2, 0)


def test_an_order_in_the_history_has_the_latest_status_that_it_can_have() -> None:
    created, confirmed, shipped = story("created", "confirmed", "shipped")
    deliver(shipped, to=customer_orders)
    row = CustomerOrder.objects.get()
    assert (row.status, row.created_at) == ("SHIPPED", None)
    deliver([confirmed, created], to=customer_orders)
    row.refresh_from_db()
    assert (row.status, row.created_at, row.pieces, str(row.total_amount)) == ("SHIPPED", NOON, 3, "45.30")
    assert row.status_at == NOON + timedelta(minutes=2)


def test_fulfilment_knows_when_each_stage_was_reached() -> None:
    deliver(list(reversed(story("created", "confirmed", "shipped"))), to=fulfilment)
    row = Fulfilment.objects.get()
    minute = timedelta(minutes=1)
    assert (row.created_at, row.confirmed_at, row.shipped_at) == (NOON, NOON + minute, NOON + 2 * minute)


def test_a_redelivery_changes_nothing() -> None:
    events = story("created", "confirmed", "cancelled")
    deliver_everywhere(events)
    before = as_text()
    deliver_everywhere(events)
    assert as_text() == before
    assert len(json.loads(before.splitlines()[0])) == 1


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_the_number_of_statements_does_not_grow_with_the_batch(consumer: Any) -> None:
    def statements(orders: int) -> int:
        events = [event for _ in range(orders) for event in story("created", "confirmed", "shipped")]
        with CaptureQueriesContext(
            connection,
        ) as queries:
            deliver(events, to=consumer)
        return len(queries)

    assert statements(1) == statements(40)


ENDS = (
    ["created"],
    ["created", "rejected"],
    ["created", "confirmed", "shipped"],
    ["created", "confirmed", "cancelled"],
)
A_STORY = st.builds(
    lambda kinds, currency, hour, items: story(
        *kinds, currency=currency, items=items, began=NOON + timedelta(hours=hour), customer_id=f"c-{hour % 2}"
    ),
    st.sampled_from(ENDS),
    st.sampled_from(["USD", "JPY"]),
    st.integers(0, 30),
    st.sampled_from([(VASE,), (JUG, VASE), (VASE.model_copy(update={"product_name": "Tall vase"}), JUG)]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stories=st.lists(A_STORY, min_size=1, max_size=5), data=st.data())
def test_any_order_and_any_batches_give_the_same_tables(stories: list[list[Event]], data: st.DataObject) -> None:
    events = [event for each in stories for event in each]
    shuffled = data.draw(st.permutations(events))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=4)))
    with transaction.atomic():
        deliver_everywhere(events)
        in_order = as_text()
        transaction.set_rollback(True)
    with transaction.atomic():
        for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
            deliver_everywhere(shuffled[start:end])
        assert as_text() == in_order
        transaction.set_rollback(True)
