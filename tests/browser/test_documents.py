"""The documents in a real browser: read by anybody, wide and narrow, without a script and by who can't see colours."""

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import NARROW, WIDE, Visitor

pytestmark = pytest.mark.browser

PAGES = ["/api/docs", "/docs/events", "/docs/events/order.created"]


@pytest.fixture
def anybody(transactional_db: None, live_server: Any, chromium: Browser) -> Iterator[Visitor]:
    """Somebody with no account. Their pages must have had nothing to complain of."""
    visitor = Visitor(chromium, live_server.url)
    yield visitor
    for context in visitor.contexts:
        context.close()
    assert visitor.complaints == []


def is_cut_off(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


@pytest.mark.parametrize("size", [WIDE, NARROW])
@pytest.mark.parametrize("address", PAGES)
def test_they_fit_the_screen_and_ask_nobody_else(anybody: Visitor, address: str, size: tuple[int, int]) -> None:
    page = anybody.looks(size=size)
    page.goto(address)
    expect(page.locator("h1")).to_be_visible()
    assert not is_cut_off(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("address", PAGES)
def test_everybody_can_read_them(anybody: Visitor, address: str, theme: str) -> None:
    page = anybody.looks(theme=theme)
    page.goto(address)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_an_endpoint_and_an_event_are_found_without_a_script(anybody: Visitor) -> None:
    page = anybody.looks(script=False)
    page.goto("/api/docs")
    page.get_by_role("link", name="POST /api/v1/orders", exact=True).click()
    expect(page.locator("#placeOrder")).to_be_in_viewport()
    page.get_by_role("link", name="Events", exact=True).click()
    page.get_by_role("link", name="order.status_changed").click()
    expect(page.locator("h1")).to_contain_text("order.status_changed 1.0")
