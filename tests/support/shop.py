"""A sales channel that keeps its own log of what it was told, to be compared with what the product did."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import httpx

from tests.support.waiting import wait_until


@dataclass
class Shop:
    """Places orders over HTTP. Thread-safe."""

    api: str
    token: str
    channel_id: int
    #: What was answered with 201: the order's id and the body that asked for it.
    accepted: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    #: Answers that no client should ever see.
    unfit: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.http = httpx.Client(
            base_url=self.api,
            headers={"Authorization": f"Bearer {self.token}"},
            trust_env=False,
            timeout=30,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=64),
        )

    def close(self) -> None:
        self.http.close()

    def order(self, product_id: str, quantity: int = 1) -> dict[str, Any]:
        """The body of an order for one product, by a customer of its own."""
        customer = uuid4().hex
        return {
            "customerId": customer,
            "customerEmail": f"{customer}@customer.example",
            "items": [{"productId": product_id, "productName": "A thing", "quantity": quantity, "unitPrice": 19.99}],
            "shippingAddress": {
                "street": "1 Long Road", "city": "Springfield", "state": "OR", "postalCode": "97477", "country": "US",
            },
            "totalAmount": round(19.99 * quantity, 2),
            "currency": "USD",
        }  # fmt: skip

    def post(self, body: dict[str, Any], *, key: str | None = None, **headers: str) -> httpx.Response:
        """One request, once. Raises httpx.TransportError where no answer came."""
        if key is not None:
            headers["Idempotency-Key"] = key
        answer = self.http.post("/orders", json=body, headers=headers)
        self.statuses[answer.status_code] += 1
        if answer.status_code == 201:
            self.accepted[UUID(answer.json()["orderId"])] = body
        elif answer.status_code >= 500 and not (answer.status_code == 503 and "Retry-After" in answer.headers):
            self.unfit.append(f"{answer.status_code}: {answer.text[:200]}")
        return answer

    def place(self, body: dict[str, Any], *, key: str | None = None, seconds: float = 60) -> UUID:
        """Ask again with the same key until the order is accepted, as a careful client does; returns its id."""
        key = key or uuid4().hex

        def accepted() -> UUID | None:
            try:
                answer = self.post(body, key=key)
            except httpx.TransportError:
                return None
            assert answer.status_code in {201, 409, 503}, answer.text
            return UUID(answer.json()["orderId"]) if answer.status_code == 201 else None

        return wait_until(accepted, seconds, "an order to be accepted")

    def place_all(self, bodies: Sequence[dict[str, Any]], *, clients: int = 8) -> list[UUID]:
        """Place many, by so many clients at once."""
        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(self.place, bodies))

    @contextmanager
    def placing(self, product_id: str, *, clients: int = 4) -> Iterator[None]:
        """While the block runs, clients place one order after the other, each until it is accepted."""
        ended = Event()

        def place_on() -> None:
            # Nobody orders faster than that, and the mails keep up.
            while not ended.wait(0.1):
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
        """Wait until so many more orders are accepted."""
        before = len(self.accepted)
        wait_until(lambda: len(self.accepted) >= before + number, 60, f"{number} more orders")

    def status(self, order_id: UUID) -> str:
        answer = self.http.get(f"/orders/{order_id}").raise_for_status()
        status: str = answer.json()["status"]
        return status

    def events(self, order_id: UUID) -> list[dict[str, Any]]:
        """The order's history, as the API tells it."""
        events: list[dict[str, Any]] = self.http.get(f"/orders/{order_id}/events").raise_for_status().json()["results"]
        return events
