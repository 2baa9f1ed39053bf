"""The console in a real browser: found in two steps, alive, by keyboard, readable by all, and without a script."""

import re
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from console.tests.builders import answered_order, event_of, work_off
from eventbus import database_time
from eventbus.testing import given_up, put_off
from inventory.consumers import reserve_stock
from notifications.consumers import queue_confirmation
from orders.events import OrderConfirmed, OrderCreated
from orders.models import Order
from orders.tests.builders import an_item, placed_order
from shipping.consumers import prepare
from shipping.models import Shipment
from tests.browser.conftest import NARROW, WIDE, Visitor

pytestmark = pytest.mark.browser


def troubled_order() -> Order:
    """An order with a dead letter and a retry that waits."""
    order = answered_order(but=[prepare, queue_confirmation])
    given_up(event_of(order.pk, OrderCreated.type), at=prepare, error="no address")
    put_off(event_of(order.pk, OrderConfirmed.type), at=queue_confirmation, seconds=600)
    return order


def overfull_order() -> Order:
    """An order in which every text is as long as it may be."""
    return placed_order(
        customerId="c" * 64,
        customerEmail=f"{'a' * 60}@{'b' * 60}.example",
        items=[
            an_item(productId=f"{'x' * 62}{number}", productName="W" * 200, unitPrice=Decimal("9999999.99"))
            for number in range(9)
        ],
        shippingAddress={"street": "S" * 200, "city": "C" * 200, "state": "", "postalCode": "P" * 20, "country": "US"},
    )


def pages_of(order_id: UUID) -> list[str]:
    return [
        "/", "/orders/", f"/orders/{order_id}/", f"/trace/{order_id}/", "/dispatch/", "/pipeline/",
        "/pipeline/consumers/inventory.reserve_stock/", "/pipeline/alarms/", "/pipeline/dead-letters/",
        "/pipeline/events/", "/stock/", "/activity/", "/search?q=c-1", "/nothing/",
    ]  # fmt: skip


def search(page: Page, text: str) -> None:
    page.keyboard.press("/")
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def test_where_an_order_is_and_what_happened_is_one_search_away(ada: Visitor) -> None:
    order = troubled_order()
    page = ada.opens()
    search(page, str(order.pk))
    expect(page.locator("h1")).to_contain_text("Order")
    answers = page.locator(".answers")
    expect(answers).to_contain_text("shipping.prepare gave order.created up: ValueError: no address")
    expect(answers).to_contain_text("notifications.queue_confirmation failed and tries again in")
    expect(page.locator(".story")).to_contain_text("inventory.reserve_stock")


def test_a_page_follows_what_happens_and_keeps_open_what_is_open(ada: Visitor) -> None:
    order = placed_order()
    page = ada.opens()
    page.goto(f"/orders/{order.pk}/")
    row = page.locator(f"#e-{event_of(order.pk, OrderCreated.type)}")
    row.locator("summary").click()
    expect(page.locator(".moments")).not_to_contain_text("Order confirmed")
    work_off()
    expect(page.locator(".moments")).to_contain_text("Order confirmed")
    expect(row).to_have_attribute("open", "")
    expect(page.locator(".live")).to_have_text("live")


def test_a_letter_is_replayed_from_the_page_of_its_order_after_it_was_asked_for(ada: Visitor) -> None:
    order = troubled_order()
    page = ada.opens()
    page.goto(f"/orders/{order.pk}/")
    page.locator(".row.is-dead summary").first.click()
    page.get_by_text("Replay …").click()
    page.get_by_role("button", name=re.compile("Replay letter")).click()
    expect(page.locator(".message-success")).to_contain_text("goes to its consumer again")


def test_a_failure_is_read_tried_and_replayed_as_a_group(ada: Visitor) -> None:
    orders = [answered_order(but=[prepare]) for _ in range(3)]
    for order in orders:
        given_up(event_of(order.pk, OrderCreated.type), at=prepare, error="no address")
    page = ada.opens()
    page.keyboard.press("g")
    page.keyboard.press("l")
    page.get_by_text("ValueError in shipping.prepare").click()
    expect(page.locator("main")).to_contain_text("What usually helps")
    page.get_by_role("button", name="Try 3").click()
    expect(page.locator("main")).to_contain_text("Tried, and rolled back")
    expect(page.locator(".chip", has_text="works")).to_have_count(3)
    page.get_by_text("Replay …").click()
    page.get_by_role("button", name="Replay", exact=True).click()
    expect(page.locator(".message-success")).to_contain_text("3 go to shipping.prepare again")


def test_five_parcels_are_dispatched_by_keyboard_alone(ada: Visitor) -> None:
    orders = [answered_order() for _ in range(5)]
    page = ada.opens()
    page.keyboard.press("g")
    page.keyboard.press("d")
    expect(page.locator("h1")).to_have_text("Dispatch")
    page.locator("[name=carrier]").focus()
    page.keyboard.type("Fast Parcel")
    page.locator("[data-scan]").first.focus()
    for number in range(5):
        page.keyboard.type(f"FP-{number}")
        page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator(".message-success")).to_have_text("Dispatched: 5 parcels.")
    shipped = Shipment.objects.filter(pk__in=[order.pk for order in orders], state="DISPATCHED")
    assert {shipment.tracking_number for shipment in shipped} == {f"FP-{number}" for number in range(5)}


def test_keys_move_through_rows_and_show_themselves(ada: Visitor) -> None:
    answered_order()
    page = ada.opens()
    page.goto("/orders/")
    page.keyboard.press("j")
    expect(page.locator("tr.is-here")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("Order")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()


def test_the_look_is_chosen_once(ada: Visitor) -> None:
    page = ada.opens()
    page.locator("[data-cycle=theme]").click()
    chosen = page.locator("html").get_attribute("data-theme")
    page.goto("/orders/")
    assert page.locator("html").get_attribute("data-theme") == chosen == "dark"


def test_times_are_relative_local_or_exact(ada: Visitor) -> None:
    placed_order()
    page = ada.opens()
    page.goto("/orders/")
    moment = page.locator("main time").first
    expect(moment).to_have_text(re.compile(r"now|\d+ (s|min) ago"))
    page.locator("[data-cycle=times]").click()
    page.locator("[data-cycle=times]").click()
    expect(moment).to_have_text(re.compile(rf"{database_time() - timedelta(minutes=5):%Y-%m}-\d\d \d\d:\d\d:\d\d UTC"))


def test_without_script_everything_can_be_read_and_done(ada: Visitor) -> None:
    order = answered_order()
    page = ada.opens(script=False)
    page.fill("[name=q]", str(order.pk))
    page.press("[name=q]", "Enter")
    expect(page.locator(".moments")).to_contain_text("Order confirmed")
    page.get_by_text("Cancel …").click()
    page.fill("[name=reason]", "changed their mind")
    page.get_by_role("button", name="Cancel the order").click()
    expect(page.locator(".message-success")).to_have_text("The order is cancelled.")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_no_text_widens_a_page(size: tuple[int, int], ada: Visitor) -> None:
    order = overfull_order()
    work_off(but=[reserve_stock])
    given_up(event_of(order.pk, OrderCreated.type), at=reserve_stock, error="E" * 5_000)
    page = ada.opens(size=size)
    for address in pages_of(order.pk):
        page.goto(address)
        for row in page.locator("details.row").all():
            row.evaluate("each => each.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], address


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_read_the_pages(theme: str, ada: Visitor) -> None:
    """What axe finds serious: contrast, names of what can be clicked, order of headings."""
    order = troubled_order()
    page = ada.opens(theme=theme)
    for address in pages_of(order.pk):
        page.goto(address)
        found = Axe().run(page).response["violations"]
        serious = {
            each["id"]: [node["html"][:120] for node in each["nodes"][:3]]
            for each in found
            if each["impact"] in ("serious", "critical")
        }
        assert serious == {}, address
