"""Metrics as data, as alarms are: a name, what it measures, and where the number comes from.

Apps declare theirs in `metrics.py`. Names, units and suffixes follow https://prometheus.io/docs/practices/naming/.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from eventbus.metrics import totals
from eventbus.metrics.totals import Key

NAME = re.compile(r"[a-z][a-z0-9_]*")
#: Upper bounds in seconds: of what a person or a process waits for.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0)
SUM, INFINITE = "sum", "+Inf"


@dataclass(frozen=True)
class Metric:
    """`labels` are names of labels: of each there may be few values, for each makes a series that is kept for good."""

    name: str
    help: str
    labels: tuple[str, ...]

    def key(self, values: Sequence[str], part: str = "") -> Key:
        """Where the total stands. Raises ValueError where the values do not match the labels."""
        if len(values) != len(self.labels) or any(" " in value or not value for value in values):
            raise ValueError(f"{self.name} has the labels {self.labels}, each a word; not {values}.")
        return self.name, " ".join(values), part


class Counter(Metric):
    """It only grows. Its name ends with `_total`."""

    def add(self, by: float, *values: str) -> None:
        """Count so many more, with these values of its labels. Costs no statement."""
        if by:
            totals.count({self.key(values): by})


@dataclass(frozen=True)
class Histogram(Metric):
    """How often each size came. `bounds`: the upper bounds of its buckets, rising."""

    bounds: tuple[float, ...] = SECONDS

    def observe(self, size: float, *values: str) -> None:
        """It came once. Costs no statement."""
        name, labels, _ = self.key(values)
        held_by = self.buckets[bisect_left(self.bounds, size) :]
        totals.count({**{(name, labels, part): 1 for part in held_by}, (name, labels, SUM): size})

    def parts(self, values: Sequence[str], counts: Sequence[int], total: float) -> dict[Key, float]:
        """What to add for so many at or below each bound, and in all, which are `total` together."""
        name, labels, _ = self.key(values)
        added = {(name, labels, part): number for part, number in zip(self.buckets, counts, strict=True) if number}
        return {**added, (name, labels, SUM): total}

    @cached_property
    def buckets(self) -> list[str]:
        """Their names, as Prometheus writes bounds."""
        return [*map(repr, self.bounds), INFINITE]


#: By the values of its labels, or by the one value.
Reading = Mapping[str, float] | Mapping[tuple[str, ...], float]
G = TypeVar("G", bound=Callable[[], Reading])


@dataclass(frozen=True)
class Gauge(Metric):
    """It rises and falls: read when somebody asks."""

    read: Callable[[], Reading]


METRICS: dict[str, Metric] = {}
M = TypeVar("M", bound=Metric)


def counter(name: str, help: str, *labels: str) -> Counter:
    """Declare a counter. Raises ValueError on a wrong or repeated name."""
    if not name.endswith("_total"):
        raise ValueError(f"The counter {name!r}: call it {name}_total.")
    return declare(Counter(name, help, labels))


def histogram(name: str, help: str, *labels: str, bounds: tuple[float, ...] = SECONDS) -> Histogram:
    """Declare a histogram. Raises ValueError on a wrong or repeated name."""
    return declare(Histogram(name, help, labels, bounds))


def gauge(name: str, help: str, *labels: str) -> Callable[[G], G]:
    """Declare a gauge over a function that reads it: the number by the values of its labels, or by one where it has one
    label, or by "" where it has none. Raises ValueError on a wrong or repeated name."""

    def over(read: G) -> G:
        declare(Gauge(name, help, labels, read))
        return read

    return over


def declare(metric: M) -> M:
    if not NAME.fullmatch(metric.name) or metric.name in METRICS:
        raise ValueError(f"The metric {metric.name!r} is declared twice, or has other than a-z, 0-9 and _ in its name.")
    METRICS[metric.name] = metric
    return metric
