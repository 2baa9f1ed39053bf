"""Pictures of the console's pages, wide and narrow, light and dark, of a server that runs: `python -m tools.pictures`.

Takes what `script/server` wrote to access.json, and the newest orders of each kind that it finds, such as those of
`script/demo`. Needs Debian's Chromium (`apt-get install chromium`). Prints each file, and ends with 1 where a page had
an error in its console or asked for something elsewhere.
"""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

LOCAL = Path(os.environ.get("LOCAL_DIR", ".local"))
SIZES = {"wide": (1400, 900), "narrow": (390, 844)}
THEMES = ("light", "dark")
#: Pages by name. Those that lead to one order are found by its status in the list.
PAGES = {
    "home": "/",
    "orders": "/orders/",
    "search": "/search?q=c-",
    "dispatch": "/dispatch/",
    "pipeline": "/pipeline/",
    "consumer": "/pipeline/consumers/shipping.prepare/",
    "letters": "/pipeline/dead-letters/",
    "alarms": "/pipeline/alarms/",
    "events": "/pipeline/events/",
    "stock": "/stock/",
    "activity": "/activity/",
    "not-found": "/nothing/",
}
STATUSES = ("CREATED", "CONFIRMED", "REJECTED", "CANCELLED", "SHIPPED")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=LOCAL / "pictures", help="where they go")
    parser.add_argument("--page", action="append", metavar="NAME=/ADDRESS/", default=[], help="only these pages")
    parser.add_argument("--site", help="another server than that of access.json, as http://HOST:PORT")
    parser.add_argument("--login", default="", metavar="USER:PASSWORD", help="there")
    options = parser.parse_args()
    site, user, password = where(options)
    chromium = shutil.which("chromium")
    if chromium is None:
        print("pictures: chromium is missing: apt-get install --no-install-recommends chromium", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for picture in take(browser, site, user, password, options, complaints):
            print(picture)
        browser.close()
    for complaint in complaints:
        print(f"pictures: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


def where(options: argparse.Namespace) -> tuple[str, str, str]:
    """The server's address, and who logs in there."""
    if options.site:
        user, _, password = options.login.partition(":")
        return options.site, user, password
    access = json.loads((LOCAL / "access.json").read_text())
    return urljoin(access["api"], "/"), access["admin_user"], access["admin_password"]


def take(
    browser: Browser, site: str, user: str, password: str, options: argparse.Namespace, complaints: list[str]
) -> Iterator[Path]:
    """Every picture, as its file is there."""
    pages: dict[str, str] = dict(each.split("=", 1) for each in options.page)
    for size, (width, height) in SIZES.items():
        for theme in THEMES:
            context = browser.new_context(viewport={"width": width, "height": height}, base_url=site)
            context.add_cookies([{"name": "theme", "value": theme, "url": site}])
            page = context.new_page()
            watch(page, site, complaints)
            page.goto("/login/")
            if not options.page:
                yield shoot(page, options.out / f"login-{size}-{theme}.png")
            page.fill("[name=username]", user)
            page.fill("[name=password]", password)
            page.click("button.primary")
            page.wait_for_selector("nav.side")
            pages = pages or PAGES | orders(page)
            for name, address in pages.items():
                page.goto(address)
                yield shoot(page, options.out / f"{name}-{size}-{theme}.png")
            context.close()


def watch(page: Page, site: str, complaints: list[str]) -> None:
    """Note what a page complains of, and whom else it asks."""
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    page.on(
        "console",
        lambda said: (
            complaints.append(f"{page.url}: {said.text}") if said.type == "error" and "404" not in said.text else None
        ),
    )
    page.on(
        "request",
        lambda asked: (
            complaints.append(f"{page.url} asks {asked.url}")
            if urlsplit(asked.url).netloc not in ("", urlsplit(site).netloc)
            else None
        ),
    )


def shoot(page: Page, file: Path) -> Path:
    page.wait_for_load_state("load")
    page.screenshot(path=file, full_page=True)
    return file


def orders(page: Page) -> dict[str, str]:
    """An order of each status that there is: its page and its trace."""
    found = {}
    for status in STATUSES:
        page.goto(f"/orders/?status={status}")
        link = page.locator("tbody a[href^='/orders/']").first
        if link.count() and (address := re.match(r"/orders/([0-9a-f-]{36})/", link.get_attribute("href") or "")):
            found[f"order-{status.lower()}"] = address[0]
            found[f"trace-{status.lower()}"] = f"/trace/{address[1]}/"
    return found


if __name__ == "__main__":
    sys.exit(main())
