"""A sales channel that keeps its own log of what it was told, to be compared with what the product did."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Event, Lock
from time import time
from typing import Any
from uuid import UUID, uuid4

import httpx

from script._lib.waiting import wait_until

PRICE = Decimal("12.50")
ADDRESS = {"street": "1 Long Road", "city": "Springfield", "state": "OR", "postalCode": "97477", "country": "US"}
#: The statuses in which an order stays by itself.
FINAL = frozenset({"CONFIRMED", "REJECTED", "CANCELLED", "SHIPPED"})


@dataclass
class Wish:
    """An order that a customer wants, once, and what became of the asking. By the address its effects are found."""

    email: str
    lines: dict[str, int]
    #: The statuses in which it may end.
    may_end: Collection[str] = FINAL
    product_name: str = "A thing"
    #: Whether its customer changes their mind, and whether they were told that it is cancelled.
    is_called_off: bool = False
    is_cancelled: bool = False
    asked_at: float = 0.0
    accepted_at: float = 0.0
    tries: int = 0
    order_id: UUID | None = None
    refusal: str = ""

    @property
    def is_answered(self) -> bool:
        return self.order_id is not None or self.refusal != ""

    @property
    def body(self) -> dict[str, Any]:
        """What is sent."""
        items = [
            {"productId": product, "productName": self.product_name, "quantity": quantity, "unitPrice": float(PRICE)}
            for product, quantity in self.lines.items()
        ]
        return {
            "customerId": self.email.partition("@")[0],
            "customerEmail": self.email,
            "items": items,
            "shippingAddress": ADDRESS,
            "totalAmount": float(PRICE * sum(self.lines.values())),
            "currency": "USD",
        }


@dataclass
class Shop:
    """Places orders over HTTP. Thread-safe."""

    api: str
    token: str
    channel_id: int
    patience: float = 30.0
    #: How requests get there: None for straight to the address.
    transport: httpx.BaseTransport | None = None
    #: Every order that was ever asked for.
    log: list[Wish] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    #: How often there was no answer, by what happened instead.
    failures: Counter[str] = field(default_factory=Counter)
    #: Answers that no client should ever see: 5xx other than 503 with Retry-After.
    unfit: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = Lock()
        self.http = httpx.Client(
            base_url=self.api,
            headers={"Authorization": f"Bearer {self.token}"},
            # No proxy of the environment between us and our own machine.
            trust_env=False,
            timeout=self.patience,
            transport=self.transport,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=64),
        )

    def close(self) -> None:
        self.http.close()

    @property
    def accepted(self) -> dict[UUID, Wish]:
        """What was answered with 201, by the order's id."""
        return {wish.order_id: wish for wish in list(self.log) if wish.order_id is not None}

    def order(self, product_id: str, quantity: int = 1) -> Wish:
        """An order for one product, by a customer of its own."""
        return Wish(f"{uuid4().hex}@customer.example", {product_id: quantity})

    def post(self, wish: Wish, *, key: str | None = None, **headers: str) -> httpx.Response:
        """One request, once. Raises httpx.TransportError where no answer came."""
        if key is not None:
            headers["Idempotency-Key"] = key
        with self._lock:
            if not wish.tries:
                self.log.append(wish)
                wish.asked_at = time()
            wish.tries += 1
        answer = self._send("/orders", json=wish.body, headers=headers)
        if answer.status_code == 201:
            wish.order_id = UUID(answer.json()["orderId"])
            wish.accepted_at = wish.accepted_at or time()
        elif answer.status_code not in (409, 429) and answer.status_code < 500:
            wish.refusal = _said(answer)
        return answer

    def offer(self, body: bytes, **headers: str) -> int:
        """Send something as an order that nobody wants, once; returns the status. Raises httpx.TransportError."""
        return self._send("/orders", content=body, headers={"Content-Type": "application/json", **headers}).status_code

    def _send(self, path: str, **request: Any) -> httpx.Response:
        try:
            answer = self.http.post(path, **request)
        except httpx.TransportError as error:
            with self._lock:
                self.failures[type(error).__name__] += 1
            raise
        with self._lock:
            self.statuses[answer.status_code] += 1
            if answer.status_code >= 500 and (answer.status_code != 503 or "Retry-After" not in answer.headers):
                self.unfit.append(_said(answer))
        return answer

    def ask(self, wish: Wish, *, key: str) -> bool:
        """One request; whether there is a definite answer now."""
        try:
            self.post(wish, key=key)
        except httpx.TransportError:
            pass
        return wish.is_answered

    def call_off(self, wish: Wish) -> bool:
        """Ask once for an accepted order to be cancelled; whether there is a definite answer now."""
        try:
            answer = self._send(f"/orders/{wish.order_id}/cancel", json={})
        except httpx.TransportError:
            return False
        wish.is_cancelled = answer.status_code == 200
        return answer.status_code < 500 and answer.status_code != 429

    def place(self, wish: Wish, *, seconds: float = 60) -> UUID:
        """Ask again with the same key until the order is accepted, as a careful client does; returns its id."""
        key = uuid4().hex
        wait_until(lambda: self.ask(wish, key=key), seconds, "an order to be accepted")
        assert wish.order_id is not None, wish.refusal
        return wish.order_id

    def place_all(self, wishes: Sequence[Wish], *, clients: int = 8) -> list[UUID]:
        """Place many, by at most this number of clients at once."""
        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(self.place, wishes))

    @contextmanager
    def placing(self, product_id: str, *, clients: int = 4) -> Iterator[None]:
        """While the block runs, clients place one order after the other, each until it is accepted."""
        ended = Event()

        def place_on() -> None:
            # Nobody orders faster than that, and the mails keep up, even with a whole server away for a while.
            while not ended.wait(0.25):
                self.place(self.order(product_id))

        with ThreadPoolExecutor(clients) as pool:
            placing = [pool.submit(place_on) for _ in range(clients)]
            try:
                yield
            finally:
                ended.set()
            for client in placing:
                client.result()

    def wait_for_more(self, number: int = 8) -> None:
        """Wait until this many more orders are accepted."""
        before = len(self.accepted)
        wait_until(lambda: len(self.accepted) >= before + number, 120, f"{number} more orders")

    def status(self, order_id: UUID) -> str:
        answer = self.http.get(f"/orders/{order_id}").raise_for_status()
        status: str = answer.json()["status"]
        return status

    def events(self, order_id: UUID) -> list[dict[str, Any]]:
        """The order's history, as the API reports it."""
        events: list[dict[str, Any]] = self.http.get(f"/orders/{order_id}/events").raise_for_status().json()["results"]
        return events


def _said(answer: httpx.Response) -> str:
    return f"{answer.status_code}: {answer.text[:200]}"
