"""The customers: seeded orders of several kinds, placed over HTTP, and the log of what was answered."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Event as Flag
from threading import Lock
from time import monotonic, time
from typing import Any
from uuid import UUID

import httpx

CLIENTS = 16
PRICE = Decimal("12.50")
PLENTY = tuple(f"plenty-{number}" for number in range(6))
SCARCE, HOT, UNKNOWN = "scarce", "hot", "nowhere"
#: How often each kind comes, in percent.
KINDS = {"plain": 55, "lines": 15, "short": 10, "unknown": 5, "hot": 15}
OUTCOMES = {"plain": "CONFIRMED", "lines": "CONFIRMED", "short": "REJECTED", "unknown": "REJECTED"}
ADDRESS = {"street": "1 Main St", "city": "Springfield", "state": "IL", "postalCode": "62701", "country": "US"}


@dataclass
class Wish:
    """An order that a customer wants, once, and what became of the asking."""

    kind: str
    email: str
    lines: dict[str, int]
    asked_at: float = 0.0
    tries: int = 0
    order_id: UUID | None = None
    refusal: str = ""

    @property
    def is_answered(self) -> bool:
        return self.order_id is not None or self.refusal != ""

    @property
    def body(self) -> dict[str, Any]:
        items = [
            {"productId": product, "productName": product, "quantity": quantity, "unitPrice": float(PRICE)}
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


def wishes(seed: int, count: int) -> list[Wish]:
    """The same orders for the same seed. Each has a customer of its own, by whom its effects are found again."""
    dice = random.Random(f"{seed} orders")
    made = []
    for number in range(count):
        (kind,) = dice.choices(list(KINDS), list(KINDS.values()))
        made.append(Wish(kind, f"{kind}-{number}@shop.example", _lines(kind, dice)))
    return made


def _lines(kind: str, dice: random.Random) -> dict[str, int]:
    match kind:
        case "plain":
            return {dice.choice(PLENTY): dice.randint(1, 3)}
        case "lines":
            return {product: dice.randint(1, 3) for product in dice.sample(PLENTY, 3)}
        case "short":
            return {dice.choice(PLENTY): 1, SCARCE: 1000}
        case "unknown":
            return {dice.choice(PLENTY): 1, UNKNOWN: 1}
    return {HOT: 1}


def stock_for(made: Sequence[Wish]) -> dict[str, int]:
    """Enough of everything, a little of the scarce product, and the hot one for half of those who want it."""
    hot = sum(wish.kind == "hot" for wish in made)
    return {**dict.fromkeys(PLENTY, 1_000_000), SCARCE: 3, HOT: max(1, hot // 2)}


@dataclass
class Shop:
    """Asks for each wish until it has a definite answer, always with the same Idempotency-Key. Thread-safe."""

    api: str
    token: str
    patience: float = 10.0
    answers: Counter[str] = field(default_factory=Counter)
    #: 5xx other than 503 with Retry-After: no client should see one.
    unfit: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._hurry = Flag()
        self.stopping = Flag()
        self.http = httpx.Client(
            headers={"Authorization": f"Bearer {self.token}"},
            # No proxy of the environment between us and our own machine.
            trust_env=False,
            timeout=self.patience,
            limits=httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS),
        )

    def place(self, wish: Wish) -> None:
        """Ask until answered; gives up only when the shop closes."""
        wish.asked_at = time()
        pause = 0.2
        while not self.stopping.is_set():
            self._ask(wish)
            if wish.is_answered:
                return
            self.stopping.wait(pause)
            pause = min(pause * 2, 2.0)

    def place_all(self, made: Iterable[Wish], *, seconds: float = 0) -> None:
        """Place many, by a bounded number of clients, spread evenly over so many seconds. Returns when all are answered
        or the shop closes."""
        made = list(made)
        began = monotonic()

        def one(number: int) -> None:
            self._hurry.wait(max(0.0, began + number * seconds / len(made) - monotonic()))
            self.place(made[number])

        with ThreadPoolExecutor(CLIENTS, thread_name_prefix="client") as clients:
            list(clients.map(one, range(len(made))))

    def hurry(self) -> None:
        """Place what is left at once."""
        self._hurry.set()

    def close(self) -> None:
        self.stopping.set()
        self._hurry.set()

    def _ask(self, wish: Wish) -> None:
        wish.tries += 1
        try:
            answer = self.http.post(f"{self.api}/orders", json=wish.body, headers={"Idempotency-Key": wish.email})
        except httpx.TransportError as error:
            self._count(type(error).__name__)
            return
        self._count(str(answer.status_code))
        if answer.status_code == 201:
            wish.order_id = UUID(answer.json()["orderId"])
        elif answer.status_code >= 500:
            if answer.status_code != 503 or "Retry-After" not in answer.headers:
                self.unfit.append(f"{answer.status_code}: {answer.text[:200]}")
        elif answer.status_code not in (409, 429):
            wish.refusal = f"{answer.status_code}: {answer.text[:200]}"

    def _count(self, what: str) -> None:
        with self._lock:
            self.answers[what] += 1
