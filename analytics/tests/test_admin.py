from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from analytics.tests.builders import CONSUMERS, VASE, story
from eventbus.testing import deliver

pytestmark = pytest.mark.django_db

PAGES = ["salesbyday", "salesbyproduct", "fulfilment", "customerorder"]


def page(client: Client, name: str, **query: str) -> str:
    answer = client.get(f"/admin/analytics/{name}/", query)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


@pytest.mark.parametrize("name", PAGES)
def test_an_empty_page_is_shown(name: str, admin_client: Client) -> None:
    page(admin_client, name)


@pytest.fixture
def sold() -> None:
    items = (VASE.model_copy(update={"product_name": "<b>Vase</b>"}),)
    events = story("created", "confirmed", "shipped", items=items, began=datetime.now(UTC))
    for consumer in CONSUMERS:
        deliver([event for event in events if event.routing_key() in consumer.routing_keys], to=consumer)


def test_the_pages_show_what_was_sold(admin_client: Client, sold: None) -> None:
    assert "39.80" in page(admin_client, "salesbyday", days="7", currency="USD")
    products = page(admin_client, "salesbyproduct")
    assert "&lt;b&gt;Vase" in products
    assert "<b>Vase" not in products
    assert "120" in page(admin_client, "fulfilment", stage="createdToShipped")
    assert "SHIPPED" in page(admin_client, "customerorder", q="c-1")
    assert "SHIPPED" not in page(admin_client, "customerorder", q="c-2")


def test_a_query_that_makes_no_sense_falls_back(admin_client: Client, sold: None) -> None:
    assert "39.80" in page(admin_client, "salesbyday", days="x", currency="<script>")


@pytest.mark.parametrize("name", PAGES)
def test_only_those_who_may_see_the_rows_see_the_page(name: str, client: Client) -> None:
    person = User.objects.create_user("person", is_staff=True)
    client.force_login(person)
    assert client.get(f"/admin/analytics/{name}/").status_code == 403
    person.user_permissions.add(Permission.objects.get(codename=f"view_{name}"))
    assert client.get(f"/admin/analytics/{name}/").status_code == 200
