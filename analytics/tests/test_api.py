from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from knox.models import AuthToken

from analytics.consumers import customer_orders, fulfilment, sales_by_day, sales_by_product
from analytics.tests.builders import NOON, story
from eventbus.testing import deliver

pytestmark = pytest.mark.django_db

MARCH = {"from": "2026-03-01", "to": "2026-03-31"}
PATHS = ["sales/daily", "sales/products", "customers/c-1/orders", "fulfilment"]


def client_of(user: User) -> Any:
    _, token = AuthToken.objects.create(user)
    client = Client(headers={"Authorization": f"Bearer {token}"})
    return lambda path, query=None: client.get(f"/api/v1/analytics/{path}", query or {})


@pytest.fixture
def get() -> Any:
    return client_of(User.objects.create_user("staff", is_staff=True))


@pytest.mark.parametrize("path", PATHS)
def test_a_channel_may_not_look(path: str) -> None:
    answer = client_of(User.objects.create_user("channel"))(path)
    assert (answer.status_code, answer["Content-Type"]) == (403, "application/problem+json")
    assert Client().get(f"/api/v1/analytics/{path}").status_code == 401


def test_sales_by_day(get: Any) -> None:
    deliver(story("created", "confirmed"), to=sales_by_day)
    answer = get("sales/daily", MARCH)
    (row,) = answer.json()["results"]
    nothing = {"orders": 0, "amount": 0, "tax": 0, "charges": 0}
    assert (row["day"], row["currency"], row["shipped"]) == ("2026-03-01", "USD", nothing)
    assert b'"confirmed":{"orders":1,"amount":45.30,' in answer.content
    assert get("sales/daily", MARCH | {"currency": "EUR"}).json() == {"results": []}


def test_the_last_thirty_days_are_the_default(get: Any) -> None:
    now = datetime.now(UTC)
    deliver(story("created", began=now - timedelta(days=29)), to=sales_by_day)
    deliver(story("created", began=now - timedelta(days=31)), to=sales_by_day)
    assert len(get("sales/daily").json()["results"]) == 1


def test_sales_by_product(get: Any) -> None:
    deliver(story("created", "confirmed"), to=sales_by_product)
    found = get("sales/products", MARCH | {"limit": 1}).json()["results"]
    assert [(row["productId"], row["confirmed"]) for row in found] == [("vase", {"quantity": 2, "amount": 39.80})]


def test_a_customers_orders_link_to_the_next_page(get: Any) -> None:
    for _ in range(3):
        deliver(story("created", "confirmed", customer_id="a/b c"), to=customer_orders)
    first = get("customers/a/b c/orders", {"limit": 2}).json()
    assert [row["status"] for row in first["results"]] == ["CONFIRMED"] * 2
    path = first["next"].partition("/analytics/")[2]
    last = get(path).json()
    assert (len(last["results"]), last["next"]) == (1, None)


def test_fulfilment(get: Any) -> None:
    deliver(story("created", "confirmed", "shipped", began=NOON), to=fulfilment)
    found = get("fulfilment", MARCH).json()
    assert (found["from"], found["orders"], found["createdToShipped"]["p99"]) == ("2026-03-01", 1, 120)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("sales/daily", {"from": "yesterday"}),
        ("sales/daily", {"from": "20260301"}),
        ("sales/daily", {"from": "2026-03-02", "to": "2026-03-01"}),
        ("sales/daily", {"from": "2000-01-01"}),
        ("sales/daily", {"currency": "usd"}),
        ("sales/daily", {"day": "2026-03-01"}),
        ("sales/products", {"limit": "0"}),
        ("customers/c-1/orders", {"before": "x"}),
        ("fulfilment", {"currency": "USD"}),
    ],
)
def test_a_senseless_query_is_refused(get: Any, path: str, query: dict[str, str]) -> None:
    answer = get(path, query)
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
