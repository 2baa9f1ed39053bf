"""Debian's Chromium on the console, served by this process over a database with real commits."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from console.tests.builders import stocked
from eventbus.testing import subscribed
from orders.tests.conftest import outbox_keeps_up

__all__ = ["outbox_keeps_up"]

WIDE, NARROW = (1400, 900), (390, 844)
#: Milliseconds for whatever a page has to do, on a busy machine.
PATIENCE = 30_000


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is missing: apt-get install --no-install-recommends chromium")
    # Playwright's loop runs in this thread, and Django takes the test for asynchronous.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@dataclass
class Visitor:
    """Somebody of the staff at a browser. `complaints` is what the pages' consoles said and whom else they asked."""

    browser: Browser
    site: str
    complaints: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def opens(self, *, size: tuple[int, int] = WIDE, theme: str = "light", script: bool = True) -> Page:
        """A browser that is logged in."""
        page = self.looks(size=size, theme=theme, script=script)
        page.goto("/login/")
        page.fill("[name=username]", "ada")
        page.fill("[name=password]", "long enough")
        page.click("button.primary")
        page.wait_for_selector("nav.side")
        return page

    def looks(self, *, size: tuple[int, int] = WIDE, theme: str = "light", script: bool = True) -> Page:
        """A browser."""
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]}, base_url=self.site, java_script_enabled=script
        )
        context.add_cookies([{"name": "theme", "value": theme, "url": self.site}])
        context.set_default_timeout(PATIENCE)
        self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("console", lambda said: self._note(page, said))
        page.on("request", lambda asked: self._note_request(page, asked.url))
        return page

    def _note(self, page: Page, said: Any) -> None:
        if said.type in ("error", "warning") and "404" not in said.text:
            self.complaints.append(f"{page.url}: {said.text}")

    def _note_request(self, page: Page, url: str) -> None:
        if urlsplit(url).netloc not in ("", urlsplit(self.site).netloc):
            self.complaints.append(f"{page.url} asks {url}")


@pytest.fixture
def ada(transactional_db: None, live_server: Any, chromium: Browser) -> Iterator[Visitor]:
    """Ada, who may do everything, in a shop with stock. Her pages must have had nothing to complain of."""
    subscribed()
    stocked()
    User.objects.create_superuser("ada", password="long enough")
    visitor = Visitor(chromium, live_server.url)
    yield visitor
    for context in visitor.contexts:
        context.close()
    assert visitor.complaints == []
