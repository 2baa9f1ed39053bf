"""Goods that are said to have come in twice have come in once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from rest_framework.test import APIClient

from inventory.models import Stock
from inventory.tests.builders import signed_in

pytestmark = pytest.mark.django_db

CUPS = {"quantity": 5, "productName": "Cup"}


@pytest.fixture
def staff(db: None) -> APIClient:
    return signed_in(User.objects.create_user("clerk", is_staff=True))


def receive(client: APIClient, key: str, body: Any = None, product_id: str = "cup") -> Any:
    url = f"/api/v1/stock/{product_id}/receipts"
    return client.post(url, body or CUPS, format="json", HTTP_IDEMPOTENCY_KEY=key)


def test_a_repeat_gets_the_first_answer_again(staff: APIClient) -> None:
    first = receive(staff, "k")
    assert receive(staff, "other").json()["available"] == 10
    again = receive(staff, "k")
    assert (again.status_code, again.content, again["Content-Type"]) == (201, first.content, "application/json")
    assert again["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert Stock.objects.get().available == 10


@pytest.mark.parametrize("other", [{"body": {"quantity": 6, "productName": "Cup"}}, {"product_id": "jug"}])
def test_another_request_under_a_used_key_is_refused(staff: APIClient, other: dict[str, Any]) -> None:
    receive(staff, "k")
    answer = receive(staff, "k", **other)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (422, "idempotency-key-reused")
    assert Stock.objects.get().available == 5


@pytest.mark.django_db(transaction=True)
def test_however_often_it_is_sent_at_once_it_counts_once(staff: APIClient) -> None:
    product_id = f"cup-{uuid4()}"
    users = [User.objects.get(username="clerk")] * 10
    start = Barrier(len(users))

    def send(user: User) -> int:
        client = signed_in(user)
        start.wait(timeout=30)
        try:
            return int(receive(client, "k", product_id=product_id).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(users)) as pool:
        statuses = set(pool.map(send, users, timeout=60))
    assert 201 in statuses
    assert statuses <= {201, 409}
    assert Stock.objects.get(pk=product_id).available == 5
