"""Orders as staff see them."""

from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from eventbus.testing import ArchivedEvent
from orders import services
from orders.models import Order
from orders.tests.builders import an_adjustment, an_item, placed_order

LIST = reverse("admin:orders_order_changelist")


@pytest.fixture
def admin(client: Client, staff: Any) -> Client:
    client.force_login(staff)
    return client


def page_of(order: Order) -> str:
    return reverse("admin:orders_order_change", args=[order.pk])


def test_the_list_takes_as_many_statements_with_ten_orders_as_with_one(admin: Client) -> None:
    counts = []
    for more in (1, 9):
        for _ in range(more):
            placed_order()
        with CaptureQueriesContext(connection) as queries:
            assert admin.get(LIST).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_an_order_shows_its_lines_and_its_history(admin: Client) -> None:
    order = placed_order(adjustments=[an_adjustment(label="By parcel")])
    services.confirm_order(order_id=order.pk)
    html = admin.get(page_of(order)).content.decode()
    for shown in (
        "Vase",
        "Jug",
        "By parcel",
        "50.20 USD",
        "order.created",
        "order.confirmed",
        "1 Main St",
        order.correlation_id,
    ):
        assert shown in html


@pytest.mark.django_db
def test_who_may_see_an_order_sees_what_was_ordered(client: Client) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename="view_order"))
    client.force_login(clerk)
    assert "Vase" in client.get(page_of(placed_order())).content.decode()


def test_an_event_is_shown_as_json(admin: Client) -> None:
    order = placed_order()
    event = ArchivedEvent.objects.get(aggregate_id=str(order.pk), type="order.created")
    html = unescape(admin.get(reverse("admin:eventbus_archivedevent_change", args=[event.pk])).content.decode())
    assert '"currency": "USD"' in html
    assert '"totalAmount": 45.30' in html
    assert "Decimal(" not in html


def test_an_order_takes_as_many_statements_with_twenty_lines_as_with_one(admin: Client) -> None:
    counts = []
    for lines in (1, 20):
        order = placed_order(items=[an_item()] * lines)
        with CaptureQueriesContext(connection) as queries:
            admin.get(page_of(order))
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("wanted", ["id", "customer_id", "customer_email"])
def test_an_order_is_found_by_its_id_its_customer_and_its_address(admin: Client, wanted: str) -> None:
    order = placed_order(customerId="c-77", customerEmail="Grace@shop.example")
    other = placed_order()
    html = admin.get(LIST, {"q": str(getattr(order, wanted)).lower()}).content.decode()
    assert page_of(order) in html
    assert page_of(other) not in html


@pytest.mark.parametrize("nonsense", ["%", "'; DROP TABLE event; --", "no-uuid", "\N{SNOWMAN}"])
def test_a_search_for_nonsense_finds_nothing(admin: Client, nonsense: str) -> None:
    order = placed_order()
    answer = admin.get(LIST, {"q": nonsense})
    assert answer.status_code == 200
    assert page_of(order) not in answer.content.decode()


def test_the_list_is_filtered_by_status_currency_and_age(admin: Client) -> None:
    confirmed, other = placed_order(), placed_order(currency="EUR")
    services.confirm_order(order_id=confirmed.pk)
    for query, found in (
        ({"status__exact": "CONFIRMED"}, [confirmed]),
        ({"currency": "EUR"}, [other]),
        ({"placed": "7"}, [confirmed, other]),
        ({"placed": "7", "status__exact": "SHIPPED"}, []),
    ):
        html = admin.get(LIST, query).content.decode()
        assert [order for order in (confirmed, other) if page_of(order) in html] == found


def test_an_order_is_not_changed_by_hand(admin: Client) -> None:
    order = placed_order()
    assert admin.post(page_of(order), {"status": "SHIPPED"}).status_code == 403
    assert admin.get(reverse("admin:orders_order_add")).status_code == 403
    assert admin.post(reverse("admin:orders_order_delete", args=[order.pk]), {"post": "yes"}).status_code == 403
    order.refresh_from_db()
    assert order.status == "CREATED"


def test_what_a_customer_wrote_is_text_and_not_html(admin: Client) -> None:
    script = "<script>alert(1)</script>"
    address = {"street": script, "city": script, "state": script, "postalCode": "1", "country": "US"}
    order = placed_order(items=[an_item(productName=script)], shippingAddress=address, customerId=script)
    for path in (LIST, page_of(order)):
        html = admin.get(path).content.decode()
        assert script not in html
        assert "&lt;script&gt;" in html


def test_a_large_table_is_not_counted(admin: Client, staff: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO orders_order (id, status, customer_id, customer_email, shipping_address, total_amount, "
            "currency, correlation_id, created_at, updated_at, channel_id) "
            "SELECT gen_random_uuid(), 'CREATED', 'c', 'e', '{}', 1, 'USD', 'x', now(), now(), %s "
            "FROM generate_series(1, 12000)",
            [staff.pk],
        )
        cursor.execute("ANALYZE orders_order")
    with CaptureQueriesContext(connection) as queries:
        assert "12000 orders" in admin.get(LIST).content.decode()
    assert not [query for query in queries if "COUNT(" in query["sql"] and "orders_order" in query["sql"]]


def test_a_stranger_sees_the_login(client: Client, db: None) -> None:
    assert client.get(LIST)["Location"].startswith(reverse("admin:login"))
