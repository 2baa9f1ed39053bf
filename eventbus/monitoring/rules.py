"""Alarm rules as data: what is measured, when it fires, and what to do then. Apps declare theirs in `alarms.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from eventbus.heartbeats.processes import ProcessStatus
    from eventbus.monitoring.status import BusStatus
    from eventbus.relay.lag import Lag
    from eventbus.restores.backups import BackupStatus


@dataclass(frozen=True)
class Observation:
    """What an evaluation starts from. `bus` is None where the broker doesn't answer; `broker_error` then says why.
    `backups` is None where PostgreSQL archives nothing."""

    lag: Lag
    bus: BusStatus | None
    broker_error: str = ""
    processes: Sequence[ProcessStatus] = ()
    backups: BackupStatus | None = None


#: The number per subject; what is left out counts as 0. None: it can't be measured now, and the states stay.
Measure = Callable[[Observation], Mapping[str, float] | None]

M = TypeVar("M", bound=Measure)


@dataclass(frozen=True)
class Rule:
    """`measures` and `advice` are for the person who is woken: what the number is, and what to do about it."""

    name: str
    measures: str
    threshold: float
    clear: float
    evaluations: int
    advice: str
    measure: Measure


RULES: dict[str, Rule] = {}


def alarm_rule(
    name: str, measures: str, *, threshold: float, advice: str, clear: float | None = None, evaluations: int = 1
) -> Callable[[M], M]:
    """Declare a rule over a function that measures. Raises ValueError on a wrong or repeated declaration."""
    below = threshold if clear is None else clear
    if below > threshold or evaluations < 1:
        raise ValueError(f"Alarm {name!r}: clear is at most the threshold, and evaluations at least 1.")

    def declare(measure: M) -> M:
        if name in RULES:
            raise ValueError(f"The alarm {name!r} is declared twice. Pick another name.")
        RULES[name] = Rule(name, measures, threshold, below, evaluations, advice, measure)
        return measure

    return declare
