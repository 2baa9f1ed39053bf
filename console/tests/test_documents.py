"""What other programs may rely on, for people: open to everybody, made of the declarations, nothing from elsewhere."""

from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from api.openapi import endpoints
from console.pages import POLICY
from eventbus.documents import catalogue

pytestmark = pytest.mark.django_db

PAGES = ["/api/docs", "/docs/events", *(f"/docs/events/{each.type}" for each in catalogue())]


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer.content
    return unescape(answer.content.decode())


@pytest.mark.parametrize("address", PAGES)
def test_everybody_may_read_them_and_nothing_comes_from_elsewhere(client: Client, address: str) -> None:
    page = client.get(address)
    assert page["Content-Security-Policy"] == POLICY
    html = text(page)
    assert "Log in" in html
    assert "<style" not in html
    assert ' style="' not in html
    # An example of a webhook's address is text, and no link.
    told = html.replace("http://127.0.0.1", "").replace("https://partner.example", "")
    assert "://" not in told, "no link leads elsewhere"
    assert 'href="https' not in html


def test_staff_see_them_in_the_console(client: Client) -> None:
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    for address in PAGES[:3]:
        assert 'class="side"' in text(client.get(address))


def test_a_channel_sees_them_as_everybody_does(client: Client) -> None:
    client.force_login(User.objects.create_user("webshop"))
    assert 'class="side"' not in text(client.get("/docs/events"))


def test_every_endpoint_is_on_the_page(client: Client) -> None:
    html = text(client.get("/api/docs"))
    for each in endpoints():
        assert f'id="{each.told.id}"' in html
        assert f"<code>{each.path}</code>" in html
    assert "order-not-cancellable" in html
    assert "Idempotency-Key" in html


def test_every_event_is_listed_with_who_publishes_it_and_internal_ones_apart(client: Client) -> None:
    published, _, internal = text(client.get("/docs/events")).partition("Internal: archived")
    assert "order.status_changed" in published
    assert "inventory.stock.reserved" in internal
    assert "inventory.stock.reserved" not in published


def test_an_event_has_meaning_fields_example_consumers_and_what_changed(client: Client) -> None:
    html = text(client.get("/docs/events/order.created"))
    assert "The shop accepted an order." in html
    assert "<code>data.customer.email</code>" in html
    assert '"eventType": "order.created"' in html
    assert "inventory.reserve_stock" in html
    assert "From 1.0 to 2.0" in html
    assert "\N{MINUS SIGN} <code>data.customerId</code>" in html
    assert "+ <code>data.customer.id</code>" in html


def test_an_older_version_says_by_which_one_it_is_superseded(client: Client) -> None:
    html = text(client.get("/docs/events/order.created?version=1.0"))
    assert "superseded by 2.0" in html
    assert "<code>data.customerId</code>" in html
    minor = text(client.get("/docs/events/order.confirmed?version=1.0"))
    assert "superseded" not in minor
    assert "Harmless" in minor


@pytest.mark.parametrize("address", ["order.eaten", "order.created?version=9.0", "order.created?version=../x"])
def test_what_is_not_published_has_no_page(client: Client, address: str) -> None:
    assert client.get(f"/docs/events/{address}").status_code == 404


@pytest.mark.parametrize("address", PAGES[:3])
def test_they_are_only_read(client: Client, address: str) -> None:
    assert client.post(address).status_code == 405
