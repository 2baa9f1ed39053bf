"""What a benchmark hands back, and how two sides are compared on a noisy machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import connection

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """One line of the table. `wanted` is the smallest ratio that is good enough; None: shown for information."""

    name: str
    ours: float
    baseline: float
    unit: str
    wanted: float | None = None
    less_is_better: bool = False

    @property
    def ratio(self) -> float:
        """How good ours is against the baseline: always better when higher."""
        return self.baseline / self.ours if self.less_is_better else self.ours / self.baseline

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ours": round(self.ours, 2),
            "baseline": round(self.baseline, 2),
            "ratio": round(self.ratio, 3),
            "unit": self.unit,
            "wanted": self.wanted,
            "holds": None if self.wanted is None else self.ratio >= self.wanted,
        }


def alternate(rounds: int, *sides: Callable[[], T]) -> list[list[T]]:
    """Measure the sides in turn, forwards in one round and backwards in the next, so that what else the machine does
    meanwhile hits all of them. Returns each side's results."""
    results: list[list[T]] = [[] for _ in sides]
    for number in range(rounds):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            results[side].append(sides[side]())
    return results


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of them don't exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def ask(sql: str, *params: Any) -> Any:
    """The one value that a query returns."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        row = cursor.fetchone()
    assert row is not None
    return row[0]
