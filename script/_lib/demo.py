"""Places orders of every kind through the REST API of the running server and follows each until it has ended."""

from __future__ import annotations

import json
import mailbox
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from script._lib.local import LOCAL, ROOT, fail

DEADLINE = 60.0
ADDRESS = {"street": "1 Main St", "city": "Springfield", "state": "IL", "postalCode": "62701", "country": "US"}
#: Each status that the customer is told of by mail.
MAILED = {"CONFIRMED", "REJECTED", "SHIPPED", "CANCELLED"}


@dataclass
class Placed:
    """One order of the demo and how far it has come. `expected` is its last status, or `refused`.

    `then` is done to it once it is confirmed: `cancel`, `dispatch` or nothing.
    """

    kind: str
    body: dict[str, Any]
    expected: str
    email: str
    then: str = ""
    order_id: str = ""
    way: list[str] = field(default_factory=list)
    mails: int = 0

    @property
    def ended(self) -> str:
        return self.way[-1] if self.way else ""

    @property
    def is_right(self) -> bool:
        return self.ended == self.expected and self.mails == self.mails_expected

    @property
    def mails_expected(self) -> int:
        confirmed = 1 if self.then else 0
        return confirmed + (self.expected in MAILED)


class Api:
    """The REST API as a sales channel sees it."""

    def __init__(self, base: str, token: str) -> None:
        self.base = base
        self.token = token

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(
            self.base + path,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


def order(lines: list[tuple[dict[str, Any], int]], price: str = "12.50", **changes: Any) -> dict[str, Any]:
    """The body of a POST: the given products and quantities at one price."""
    items = [
        {
            "productId": stock["productId"],
            "productName": stock["productName"],
            "quantity": quantity,
            "unitPrice": float(price),
        }
        for stock, quantity in lines
    ]
    total = sum((Decimal(price) * quantity for _, quantity in lines), Decimal())
    body = {
        "customerId": "demo-customer",
        "items": items,
        "shippingAddress": ADDRESS,
        "totalAmount": float(total),
        "currency": "USD",
    }
    return body | changes


def basket(stock: list[dict[str, Any]]) -> list[Placed]:
    """Orders of every kind: plain, several lines, cancelled, dispatched, unknown product, short stock, invalid."""
    plenty = sorted(stock, key=lambda each: -each["available"])[:4]
    scarce = min(stock, key=lambda each: each["available"])
    unknown = {"productId": "no-such-product", "productName": "Not in stock"}
    several = [[(plenty[n], 1), (plenty[(n + 1) % 4], 2), (plenty[(n + 2) % 4], 1)] for n in range(4)]
    kinds: list[tuple[str, dict[str, Any], str]] = [
        *[("plain", order([(plenty[n % 4], 1 + n % 3)]), "CONFIRMED") for n in range(7)],
        *[("cancel", order([(plenty[n], 1)]), "CANCELLED") for n in range(2)],
        *[("dispatch", order([(plenty[n], 2)]), "SHIPPED") for n in range(2)],
        *[("several lines", order(lines), "CONFIRMED") for lines in several],
        *[("unknown product", order([(plenty[0], 1), (unknown, 1)]), "REJECTED") for _ in range(2)],
        *[("short stock", order([(plenty[1], 1), (scarce, scarce["available"] + 1)]), "REJECTED") for _ in range(3)],
        ("invalid: total", order([(plenty[0], 1)], totalAmount=1.0), "refused"),
        ("invalid: quantity", order([(plenty[0], 0)]), "refused"),
        ("invalid: currency", order([(plenty[0], 1)], currency="ABC"), "refused"),
        ("invalid: no items", order([]), "refused"),
    ]
    run = uuid.uuid4().hex[:8]
    placed = []
    for number, (kind, body, expected) in enumerate(kinds):
        email = f"demo-{run}-{number}@shop.example"
        then = kind if kind in ("cancel", "dispatch") else ""
        placed.append(Placed(kind, body | {"customerEmail": email}, expected, email, then))
    return placed


def place(api: Api, each: Placed) -> None:
    status, answer = api.call("POST", "/orders", each.body)
    if status == 201:
        each.order_id = answer["orderId"]
        each.way.append(answer["status"])
    elif status in (400, 422):
        each.way.append("refused")
    else:
        each.way.append(f"HTTP {status}")


def follow(api: Api, each: Placed) -> None:
    if each.order_id and each.ended != each.expected:
        status, answer = api.call("GET", f"/orders/{each.order_id}")
        now = answer["status"] if status == 200 else f"HTTP {status}"
        if now != each.ended:
            each.way.append(now)


def act(channel: Api, staff: Api, each: Placed) -> None:
    """Do to a confirmed order what this demo has in mind for it. Asked again until it is done: both may be repeated."""
    if each.ended != "CONFIRMED" or each.mails < 1:
        return
    if each.then == "cancel":
        channel.call("POST", f"/orders/{each.order_id}/cancel", {"reason": "changed my mind"})
    elif each.then == "dispatch":
        parcel = {"carrier": "Fast Parcel", "trackingNumber": f"FP-{each.order_id[-6:]}"}
        parcel["estimatedDelivery"] = (date.today() + timedelta(days=3)).isoformat()
        staff.call("POST", f"/shipments/{each.order_id}/dispatch", parcel)


def staff_api(access: dict[str, Any]) -> Api:
    """The API as the demo's administrator sees it."""
    command = ["create_staff_token", access["admin_user"], "--json"]
    done = subprocess.run(
        [sys.executable, "manage.py", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        fail(f"manage.py {' '.join(command)} failed: {done.stderr.strip()}")
    return Api(access["api"], json.loads(done.stdout)["token"])


def count_mails(folder: str, placed: list[Placed]) -> None:
    """How many mails each customer of this run has got, from the local mail sink's folder."""
    by_email = {each.email: each for each in placed}
    for each in placed:
        each.mails = 0
    for message in mailbox.Maildir(folder, create=False):
        to = by_email.get(str(message["To"]))
        if to is not None:
            to.mails += 1


def table(placed: list[Placed]) -> Table:
    shown = Table("order", "kind", "way", "mails", "as it must")
    for each in placed:
        verdict = "[green]yes" if each.is_right else "…"
        shown.add_row(each.order_id[:18] or "—", each.kind, " → ".join(each.way), str(each.mails or ""), verdict)
    return shown


def main() -> int:
    access_file = LOCAL / "access.json"
    if not access_file.exists():
        fail("no server is running: start script/server in another terminal and wait for its table.")
    access = json.loads(access_file.read_text())
    api = Api(access["api"], access["token"])
    status, answer = api.call("GET", "/stock")
    if status != 200 or len(answer["results"]) < 5:
        fail(f"GET /stock answered {status} with {len(answer.get('results', []))} products: run `manage.py load_demo`.")
    staff = staff_api(access)
    placed = basket(answer["results"])
    started = time.monotonic()
    console = Console()
    with Live(table(placed), console=console, refresh_per_second=10) as live:
        for each in placed:
            place(api, each)
            live.update(table(placed))
        while not all(each.is_right for each in placed) and time.monotonic() - started < DEADLINE:
            for each in placed:
                follow(api, each)
            count_mails(access["mailbox"], placed)
            for each in placed:
                act(api, staff, each)
            live.update(table(placed))
            time.sleep(0.1)
    wrong = [each for each in placed if not each.is_right]
    for each in wrong:
        console.print(
            f"[red]{each.kind} {each.order_id}: ended as {each.ended} with {each.mails} mails, not {each.expected}"
        )
    console.print(
        f"{len(placed) - len(wrong)} of {len(placed)} orders ended as they must, in {time.monotonic() - started:.1f} s"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
