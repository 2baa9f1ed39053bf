"""What holds for all pages: who may come in, what they cost, and that nothing in them can become a script."""

import re
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from console import telling
from console.access import ROLES
from console.tests.builders import answered_order, event_of, signed_in
from eventbus.pipeline import letter_groups
from eventbus.testing import given_up, put_off
from inventory.consumers import reserve_stock
from notifications.consumers import queue_confirmation
from orders.events import OrderConfirmed, OrderCreated
from orders.models import Order
from orders.tests.builders import an_item, placed_order
from shipping.consumers import prepare

#: Queries of a page at most, those for session, person, rights and navigation included.
MOST = 12
HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
def order(shop: None) -> Order:
    """An order with everything that a page may have to show."""
    order = answered_order(but=[prepare, queue_confirmation])
    given_up(event_of(order.pk, OrderCreated.type), at=prepare, error="no address")
    put_off(event_of(order.pk, OrderConfirmed.type), at=queue_confirmation)
    return order


def group_id() -> int:
    """Of what the order's consumer gave up."""
    return next((group.row.pk for group in letter_groups()), 0)


def addresses(order: Order) -> dict[str, str]:
    """Every page, by the permission that it takes."""
    return {
        reverse("console:home"): "",
        reverse("console:search") + "?q=" + str(order.pk)[:8]: "",
        reverse("console:orders"): "orders.view_order",
        reverse("console:orders") + "?customer=ada@shop.example&status=CONFIRMED": "orders.view_order",
        reverse("console:order", args=[order.pk]): "orders.view_order",
        reverse("console:dispatch"): "shipping.view_shipment",
        reverse("console:trace", args=[order.pk]): "eventbus.view_pipeline",
        reverse("console:trace", args=[order.correlation_id]): "eventbus.view_pipeline",
        reverse("console:stock"): "inventory.view_stock",
        reverse("console:letters"): "eventbus.view_deadlettergroup",
        f"{reverse('console:letters')}?group={group_id()}": "eventbus.view_deadlettergroup",
        reverse("console:events"): "eventbus.view_pipeline",
        reverse("console:events") + "?type=order.confirmed": "eventbus.view_pipeline",
        reverse("console:alarms"): "eventbus.view_alarm",
        reverse("console:pipeline"): "eventbus.view_pipeline",
        reverse("console:consumer", args=[reserve_stock.name]): "eventbus.view_pipeline",
        reverse("console:activity"): "admin.view_logentry",
    }


def test_who_is_not_logged_in_is_asked_to_on_every_page(order: Order, client: Client) -> None:
    for address in addresses(order):
        answer = client.get(address)
        assert answer.status_code == 302, address
        assert answer["Location"].startswith(reverse("console:login")), address


def test_a_channel_is_no_staff(order: Order, client: Client) -> None:
    client.force_login(User.objects.get(pk=order.channel_id))
    assert client.get(reverse("console:home"))["Location"].startswith(reverse("console:login"))


@pytest.mark.parametrize("role", [*ROLES, ""])
def test_each_role_sees_what_it_may_and_is_told_who_could_see_the_rest(role: str, order: Order) -> None:
    client = signed_in(*filter(None, [role]))
    for address, permission in addresses(order).items():
        answer = client.get(address)
        if permission and permission not in ROLES.get(role, ()):
            assert answer.status_code == 403, address
            assert permission in answer.content.decode()
        else:
            assert answer.status_code in (200, 302), address


def test_a_page_takes_few_queries(order: Order) -> None:
    client = signed_in(*ROLES)
    for address in addresses(order):
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address).status_code in (200, 302)
        assert len(queries) <= MOST, f"{address}: {len(queries)}"


def test_lists_take_as_many_queries_with_ten_orders_as_with_one(order: Order) -> None:
    client = signed_in(*ROLES)
    lists = [reverse("console:orders"), reverse("console:dispatch"), reverse("console:search") + "?q=c-1"]
    counts = []
    for more in (0, 9):
        for _ in range(more):
            answered_order()
        for address in lists:
            with CaptureQueriesContext(connection) as queries:
                client.get(address, follow=False)
            counts.append(len(queries))
    assert max(counts) <= MOST


def test_nothing_stands_in_a_page_that_a_strict_policy_refuses(shop: None) -> None:
    order = placed_order(items=[an_item(productName=HOSTILE)], customerId=HOSTILE)
    given_up(event_of(order.pk, OrderCreated.type), at=prepare, error=HOSTILE)
    client = signed_in(*ROLES)
    for address in [*addresses(order), reverse("console:login"), "/nothing/"]:
        answer = client.get(address)
        html = answer.content.decode()
        assert HOSTILE not in html, address
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", html), address
        assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", html), address
        if answer.status_code == 200:
            assert "script-src 'self'" in answer["Content-Security-Policy"]


def test_the_live_part_comes_alone_and_only_when_it_has_changed(order: Order) -> None:
    client = signed_in(*ROLES)
    address = reverse("console:order", args=[order.pk])
    part = client.get(address, headers={"X-Live": "1"})
    assert b"<html" not in part.content
    again = client.get(address, headers={"X-Live": "1", "If-None-Match": part["ETag"]})
    assert again.status_code in (200, 304)
    assert b"csrfmiddlewaretoken" not in part.content, "with it no two answers would be the same"


def test_however_many_look_at_the_pipeline_it_is_read_once_in_two_seconds(order: Order) -> None:
    client = signed_in("operator")
    client.get(reverse("console:pipeline"), headers={"X-Live": "1"})
    with CaptureQueriesContext(connection) as queries:
        client.get(reverse("console:pipeline"), headers={"X-Live": "1"})
    # Who it is, and what he may.
    assert len(queries) <= 4


def test_the_navigation_counts_what_waits(order: Order) -> None:
    answered_order()
    html = signed_in(*ROLES).get(reverse("console:home")).content.decode()
    assert re.search(r'Dead letters<span class="count count-bad">1<', html)
    assert re.search(r'Dispatch<span class="count">1<', html)


def test_what_is_chosen_of_the_look_comes_with_the_page(shop: None) -> None:
    client = signed_in("clerk")
    client.cookies["theme"], client.cookies["times"] = "dark", '"><script>'
    html = client.get(reverse("console:home")).content.decode()
    assert 'data-theme="dark"' in html
    assert 'data-times="relative"' in html


def test_pages_that_are_not_there_lead_back(shop: None) -> None:
    client = signed_in("clerk")
    answer = client.get("/nothing/")
    assert answer.status_code == 404
    assert "There is nothing here" in answer.content.decode()
    assert client.get("/api/v1/nothing").status_code == 404
    assert client.get("/api/v1/nothing")["Content-Type"] == "application/problem+json"


def test_what_a_form_does_needs_its_token(order: Order) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    answer = client.post(reverse("console:cancel", args=[order.pk]), {"reason": "no"})
    assert answer.status_code == 403
    assert "grown too old" in answer.content.decode()
    assert client.get(reverse("console:cancel", args=[order.pk])).status_code == 405


def test_every_permission_of_a_role_exists(db: None) -> None:
    known = {f"{each.content_type.app_label}.{each.codename}" for each in Permission.objects.select_related()}
    assert {name for names in ROLES.values() for name in names} - known == set()


def test_roles_are_made_once_and_keep_what_they_were_given(db: None, capsys: Any) -> None:
    call_command("load_roles", "--dry-run")
    assert "would get" in capsys.readouterr().out
    call_command("load_roles")
    call_command("load_roles", "--json")
    assert '"clerk": []' in capsys.readouterr().out


def test_who_logs_in_goes_where_he_wanted_to(db: None, client: Client) -> None:
    User.objects.create_user("ada", password="long enough", is_staff=True)
    form = {"username": "ada", "password": "long enough", "next": "/orders/"}
    assert client.post(reverse("console:login"), form)["Location"] == "/orders/"
    assert b"correct" in client.post(reverse("console:login"), form | {"password": "wrong"}).content


def test_a_broken_connection_is_not_noticed_by_who_only_reads(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    client, outages = signed_in("operator"), [OperationalError("terminating connection")]

    def told_of_order(order_id: UUID) -> Any:
        if outages:
            raise outages.pop()
        return telling.told_of_order(order_id)

    monkeypatch.setattr("console.views.orders.told_of_order", told_of_order)
    monkeypatch.setattr(connection, "close", lambda: None)
    address = reverse("console:order", args=[order.pk])
    assert client.get(address).status_code == 200
    outages += [OperationalError("still away"), OperationalError("away")]
    answer = client.get(address)
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert "The database does not answer" in answer.content.decode()
