"""The customers: seeded orders of several kinds, each asked for until it has a definite answer."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Flag
from time import monotonic

from tools.harness.shop import Shop, Wish

CLIENTS = 16
PLENTY = tuple(f"plenty-{number}" for number in range(6))
SCARCE, HOT, UNKNOWN = "scarce", "hot", "nowhere"
#: How often each kind comes, in percent, and how it may end.
KINDS = {
    "plain": (43, ["CONFIRMED"]),
    "odd": (5, ["CONFIRMED"]),
    "lines": (15, ["CONFIRMED"]),
    "short": (10, ["REJECTED"]),
    "unknown": (5, ["REJECTED"]),
    "hot": (15, ["CONFIRMED", "REJECTED"]),
    "regretted": (7, ["CONFIRMED", "CANCELLED"]),
}
#: What a product may be called, though not everything that reads it likes that.
ODD_NAMES = (
    'O\'Brien & Söhne <b>"x"</b>',
    "価格 ￥ 🎁",
    "'; DROP TABLE orders_order; --",
    "{{ 7 * 7 }} %s {0}",
    "back\\u0000slash",
    "n" * 200,
)


def wishes(seed: int, count: int) -> list[Wish]:
    """The same orders for the same seed. Each has a customer of its own."""
    dice = random.Random(f"{seed} orders")
    made = []
    for number in range(count):
        (kind,) = dice.choices(list(KINDS), [often for often, _ in KINDS.values()])
        name = dice.choice(ODD_NAMES) if kind == "odd" else "A thing"
        made.append(
            Wish(
                f"{kind}-{number}@shop.example",
                _lines(kind, dice),
                KINDS[kind][1],
                product_name=name,
                is_called_off=kind == "regretted",
            )
        )
    return made


def _lines(kind: str, dice: random.Random) -> dict[str, int]:
    match kind:
        case "plain" | "odd" | "regretted":
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
    hot = sum(HOT in wish.lines for wish in made)
    return {**dict.fromkeys(PLENTY, 1_000_000), SCARCE: 3, HOT: max(1, hot // 2)}


class Customers:
    """Ask for each wish until it has a definite answer, always with the same Idempotency-Key."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self._hurry, self._stopping = Flag(), Flag()

    def place_all(self, made: Sequence[Wish], *, seconds: float) -> None:
        """Place them spread evenly over this time. Returns when all are answered, or after close()."""
        began = monotonic()

        def one(number: int) -> None:
            self._hurry.wait(max(0.0, began + number * seconds / len(made) - monotonic()))
            self._place(made[number])

        with ThreadPoolExecutor(CLIENTS, thread_name_prefix="client") as clients:
            list(clients.map(one, range(len(made))))

    def _place(self, wish: Wish) -> None:
        self._insist(lambda: self.shop.ask(wish, key=wish.email))
        if wish.is_called_off and wish.order_id is not None:
            self._insist(lambda: self.shop.call_off(wish))

    def _insist(self, ask: Callable[[], bool]) -> None:
        """Ask until there is a definite answer."""
        pause = 0.2
        while not self._stopping.is_set() and not ask():
            self._stopping.wait(pause)
            pause = min(pause * 2, 2.0)

    def hurry(self) -> None:
        """Place what is left at once."""
        self._hurry.set()

    def close(self) -> None:
        """Ask no more."""
        self._stopping.set()
        self._hurry.set()
