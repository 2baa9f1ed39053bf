"""Who gets what: the decision alone, without a database, so that every case of it can be tried in no time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from eventbus import Event
from inventory.events import Shortage


@dataclass(frozen=True, slots=True)
class Request:
    """What an order asks for, per product, and the event that asked."""

    order_id: UUID
    wanted: Mapping[str, int]
    cause: Event | None = None


@dataclass(frozen=True, slots=True)
class StockLevel:
    """What is there of a product before the decision."""

    available: int
    low_threshold: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything the order asked for, or nothing because of the shortages."""

    request: Request
    shortages: tuple[Shortage, ...]
    reason: Literal["", "insufficient_stock", "unknown_product"]

    @property
    def granted(self) -> bool:
        return not self.shortages


@dataclass(frozen=True, slots=True)
class LowStock:
    """A product's available quantity fell below its threshold, because of this request."""

    product_id: str
    available: int
    threshold: int
    request: Request


@dataclass(slots=True)
class Plan:
    """What follows from the decisions: the quantities to take, and the products that run low."""

    decisions: list[Decision] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)
    low: list[LowStock] = field(default_factory=list)


def decide(requests: Sequence[Request], levels: Mapping[str, StockLevel]) -> Plan:
    """Grant each request in turn whole or not at all: who comes first is served first, and no more is taken than is
    there. A product that runs low is reported once, with what is left after all of them."""
    plan = Plan()
    left = {product_id: level.available for product_id, level in levels.items()}
    fell: dict[str, Request] = {}
    for request in requests:
        decision = _decide_one(request, left)
        plan.decisions.append(decision)
        if not decision.granted:
            continue
        for product_id, quantity in request.wanted.items():
            before, threshold = left[product_id], levels[product_id].low_threshold
            left[product_id] -= quantity
            plan.taken[product_id] += quantity
            if left[product_id] < threshold <= before:
                fell[product_id] = request
    plan.low = [
        LowStock(product_id, left[product_id], levels[product_id].low_threshold, request)
        for product_id, request in fell.items()
    ]
    return plan


def _decide_one(request: Request, left: Mapping[str, int]) -> Decision:
    shortages = tuple(
        Shortage(product_id=product_id, requested=quantity, available=left.get(product_id, 0))
        for product_id, quantity in request.wanted.items()
        if quantity > left.get(product_id, 0)
    )
    if not shortages:
        return Decision(request, (), "")
    unknown = any(shortage.product_id not in left for shortage in shortages)
    return Decision(request, shortages, "unknown_product" if unknown else "insufficient_stock")
