from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from analytics import queries
from analytics.charts import Series, chart, rounded_up
from analytics.consumers import customer_orders, fulfilment, sales_by_day, sales_by_product
from analytics.queries import Range
from analytics.tests.builders import JUG, NOON, VASE, story
from eventbus import new_id
from eventbus.testing import deliver

pytestmark = pytest.mark.django_db

MARCH = Range(date(2026, 3, 1), date(2026, 3, 31))


def test_days_are_listed_by_currency_and_both_ends_belong_to_the_range() -> None:
    for began in (NOON - timedelta(days=1), NOON, NOON + timedelta(days=30), NOON + timedelta(days=31)):
        deliver(story("created", began=began), to=sales_by_day)
    deliver(story("created", "confirmed", currency="JPY"), to=sales_by_day)
    found = queries.sales_by_day(MARCH)
    assert [(row["day"].isoformat(), row["currency"]) for row in found] == [
        ("2026-03-01", "JPY"), ("2026-03-01", "USD"), ("2026-03-31", "USD"),
    ]  # fmt: skip
    assert found[0]["confirmed"] == {"orders": 1, "amount": Decimal("45.30"), "tax": 0, "charges": 0}
    assert [row["currency"] for row in queries.sales_by_day(MARCH, "JPY")] == ["JPY"]
    assert queries.currencies(MARCH) == ["JPY", "USD"]


def test_days_begin_at_midnight_in_the_shop(settings: Any) -> None:
    settings.SHOP_TIME_ZONE = ZoneInfo("America/New_York")
    # Half past eleven in the evening of 7 March; the next day has 23 hours.
    late = datetime(2026, 3, 8, 4, 30, tzinfo=UTC)
    for began in (late, late + timedelta(hours=1), late + timedelta(hours=23), late + timedelta(hours=24)):
        events = story("created", "confirmed", began=began)
        deliver(events, to=sales_by_day)
        deliver(events, to=fulfilment)
    asked = Range(date(2026, 3, 7), date(2026, 3, 9))
    by_day = [(row["day"].day, row["created"]["orders"]) for row in queries.sales_by_day(asked)]
    assert by_day == [(7, 1), (8, 2), (9, 1)]
    assert [(day.day, found["orders"]) for day, found in queries.fulfilment_by_day(asked).items()] == by_day
    assert queries.fulfilment(Range(date(2026, 3, 8), date(2026, 3, 8)))["orders"] == 2


def test_the_top_products_are_summed_over_days_but_never_over_currencies() -> None:
    renamed = JUG.model_copy(update={"product_name": "Big jug"})
    deliver(story("created", "confirmed", items=(VASE,)), to=sales_by_product)
    deliver(story("created", "confirmed", items=(JUG,)), to=sales_by_product)
    deliver(story("created", "confirmed", items=(renamed,), began=NOON + timedelta(days=2)), to=sales_by_product)
    deliver(story("created", "confirmed", items=(JUG,), currency="EUR"), to=sales_by_product)
    found = queries.top_products(MARCH, limit=10)
    assert [(each["productId"], each["currency"], each["productName"]) for each in found] == [
        ("vase", "USD", "Vase"), ("jug", "USD", "Big jug"), ("jug", "EUR", "Jug"),
    ]  # fmt: skip
    assert found[1]["confirmed"] == {"quantity": 2, "amount": Decimal("11.00")}
    assert [each["productId"] for each in queries.top_products(MARCH, "USD", limit=1)] == ["vase"]


def test_a_customers_history_is_paged_newest_first() -> None:
    ids = sorted(new_id() for _ in range(3))
    for order_id in ids:
        deliver(story("created", order_id=order_id), to=customer_orders)
    deliver(story("created", customer_id="c-2"), to=customer_orders)
    first = queries.orders_of_customer("c-1", limit=2)
    assert [row["orderId"] for row in first] == [ids[2], ids[1]]
    assert [row["orderId"] for row in queries.orders_of_customer("c-1", limit=2, before=ids[1])] == [ids[0]]
    assert queries.orders_of_customer("nobody", limit=2) == []


def test_percentiles_are_of_those_that_came_so_far() -> None:
    for minutes in range(1, 102):
        deliver(story("created", "confirmed", every=timedelta(minutes=minutes)), to=fulfilment)
    deliver(story("created"), to=fulfilment)
    deliver(story("created", "confirmed", began=NOON - timedelta(days=30)), to=fulfilment)
    found = queries.fulfilment(MARCH)
    assert found["orders"] == 102
    assert found["createdToConfirmed"] == {"orders": 101, "p50": 51 * 60, "p90": 91 * 60, "p95": 96 * 60, "p99": 6000}
    assert found["createdToShipped"] == {"orders": 0, "p50": None, "p90": None, "p95": None, "p99": None}
    assert queries.fulfilment_by_day(MARCH)[date(2026, 3, 1)] == found


def test_nothing_is_an_answer_too() -> None:
    assert queries.sales_by_day(MARCH) == queries.top_products(MARCH, limit=5) == []
    assert queries.fulfilment(MARCH)["orders"] == 0
    assert queries.fulfilment_by_day(MARCH) == {}


@pytest.mark.parametrize(("value", "end"), [(0, 1), (1, 1), (1.1, 2), (45.3, 50), (999, 1000), (0.003, 0.005)])
def test_the_scale_ends_at_a_round_number(value: float, end: float) -> None:
    assert rounded_up(value) == pytest.approx(end)


def test_a_chart_escapes_what_it_is_told_and_leaves_out_what_is_missing() -> None:
    drawn = chart(["1 Mar", "2 Mar"], lines=[Series("<p50>", [3, None], "p50")], unit="seconds")
    assert "<p50>" not in drawn
    assert drawn.count("<circle") == 1
