"""How the pipeline is doing: from samples, heartbeats, alarms and what waits. Nobody asks the broker for a page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from django.db.models import Count

from eventbus.db.clock import database_time
from eventbus.db.sql import fetch
from eventbus.dead_letters.models import DeadLetter, DeadLetterState
from eventbus.declaration import CONSUMERS, Consumer
from eventbus.heartbeats.processes import ProcessStatus, processes
from eventbus.monitoring.models import Alarm, AlarmState
from eventbus.monitoring.rules import RULES
from eventbus.monitoring.samples import COARSE, COUNT_TO, EVERY, OUTBOX, STALE
from eventbus.relay.lag import Lag, outbox_lag
from eventbus.retries.queries import RetryStatus, by_consumer

N = TypeVar("N", int, float)

#: What a page looks back on: hours, by name; seconds of a sample, and of a point of a curve.
WINDOWS = {"1h": (1, EVERY, 60), "6h": (6, EVERY, 360), "24h": (24, COARSE, 1_440)}

_CURVES = """
SELECT consumer, floor(extract(epoch FROM %(now)s - at) / %(step)s)::int AS ago, sum(done), max(ready), max(age_p95),
       sum(dead), max(at), (array_agg(ready ORDER BY at DESC))[1], (array_agg(workers ORDER BY at DESC))[1],
       (array_agg(done ORDER BY at DESC))[1], (array_agg(age_p50 ORDER BY at DESC))[1],
       (array_agg(age_p95 ORDER BY at DESC))[1]
FROM bus_sample WHERE seconds = %(seconds)s AND at > %(since)s
GROUP BY 1, 2 ORDER BY 1, 2 DESC
"""


@dataclass(frozen=True, slots=True)
class Point:
    """A stretch of time on a curve. Ages in seconds; None where nothing was measured."""

    done: int
    ready: int | None
    age_p95: float | None
    dead: int


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest sample of a consumer."""

    at: datetime
    ready: int | None
    workers: int | None
    done: int | None
    age_p50: float | None
    age_p95: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """What the samples have of a consumer, oldest point first."""

    points: Sequence[Point] = ()
    latest: Latest | None = None

    @property
    def done(self) -> list[float | None]:
        return [point.done for point in self.points]

    @property
    def ready(self) -> list[float | None]:
        return [point.ready for point in self.points]

    @property
    def ages(self) -> list[float | None]:
        return [point.age_p95 for point in self.points]

    @property
    def dead(self) -> list[float | None]:
        return [point.dead for point in self.points]

    @property
    def age_p95(self) -> float | None:
        """Of the last point that had any: what is quiet keeps its last figure."""
        return next((age for age in reversed(self.ages) if age is not None), None)


@dataclass(frozen=True, slots=True)
class FiringAlarm:
    """An alarm that fires, and what its rule says of it."""

    name: str
    subject: str
    value: float
    since: datetime
    measures: str
    advice: str


@dataclass(frozen=True, slots=True)
class ConsumerNow:
    """A consumer at this moment. `rate`: events a second; None where the samples are too old to tell."""

    name: str
    declared: Consumer | None
    curve: Curve
    is_fresh: bool
    retries: RetryStatus | None
    dead: int
    alarms: Sequence[FiringAlarm]

    @property
    def ready(self) -> int | None:
        return self.curve.latest.ready if self.curve.latest and self.is_fresh else None

    @property
    def workers(self) -> int | None:
        return self.curve.latest.workers if self.curve.latest and self.is_fresh else None

    @property
    def rate(self) -> float | None:
        latest = self.curve.latest
        return latest.done / EVERY if latest and self.is_fresh and latest.done is not None else None

    @property
    def trouble(self) -> int:
        """Sorts the worst first: 3 fires, 2 has nobody to work, 1 has dead letters or retries, 0 is well."""
        if self.alarms:
            return 3
        if self.workers == 0:
            return 2
        return 1 if self.dead or self.retries else 0


@dataclass(frozen=True, slots=True)
class PipelineNow:
    """Everything at this moment. `broker`: whether it answered the last sample; None where there is no fresh one."""

    now: datetime
    sampled_at: datetime | None
    broker: bool | None
    lag: Lag
    outbox: Curve
    consumers: Sequence[ConsumerNow]
    processes: Sequence[ProcessStatus]
    alarms: Sequence[FiringAlarm]

    @property
    def is_fresh(self) -> bool:
        return is_fresh(self.sampled_at, self.now)

    @property
    def ready(self) -> int | None:
        """What waits in all queues; None where nobody knows."""
        return _sum_of_known(each.ready for each in self.consumers)

    @property
    def handled_rate(self) -> float | None:
        """Deliveries a second that consumers have handled."""
        return _sum_of_known(each.rate for each in self.consumers)

    @property
    def waiting(self) -> list[int]:
        """What waited in all queues, over time."""
        return self._summed("ready")

    @property
    def handled(self) -> list[int]:
        """What consumers have handled, over time."""
        return self._summed("done")

    @property
    def given_up(self) -> list[int]:
        """What became a dead letter, over time."""
        return self._summed("dead")

    def _summed(self, measured: str) -> list[int]:
        columns = zip(*(getattr(each.curve, measured) for each in self.consumers if each.curve.points), strict=True)
        return [sum(int(value or 0) for value in column) for column in columns]

    @property
    def retrying(self) -> int:
        return sum(each.retries.waiting for each in self.consumers if each.retries)

    @property
    def next_retry(self) -> float | None:
        """Seconds until the next retry is due; None where none waits."""
        return min((each.retries.next_seconds for each in self.consumers if each.retries), default=None)

    @property
    def dead(self) -> int:
        """Dead letters that nobody has settled."""
        return sum(each.dead for each in self.consumers)

    @property
    def recorded_rate(self) -> float | None:
        """Events a second that were recorded."""
        latest = self.outbox.latest
        return latest.done / EVERY if latest and latest.done is not None and self.is_fresh else None


def is_fresh(sampled_at: datetime | None, now: datetime) -> bool:
    """Whether a sample of that moment says how things are now."""
    return sampled_at is not None and (now - sampled_at).total_seconds() < STALE


def _sum_of_known(numbers: Iterable[N | None]) -> N | None:
    """None where none of them is known."""
    known = [number for number in numbers if number is not None]
    return sum(known[1:], known[0]) if known else None


def pipeline_now(window: str = "1h") -> PipelineNow:
    """Ask the database. Raises DatabaseError, and KeyError for an unknown window."""
    now = database_time()
    found = curves(now, window)
    sampled_at = max((each.latest.at for each in found.values() if each.latest), default=None)
    fresh = is_fresh(sampled_at, now)
    letters = dict(
        DeadLetter.objects.filter(state=DeadLetterState.OPEN).order_by().values_list("consumer").annotate(Count("id"))
    )
    retries, alarms = by_consumer(), firing()
    names = sorted({*CONSUMERS, *letters, *retries, *(found.keys() - {OUTBOX})})
    consumers = [
        ConsumerNow(
            name=name,
            declared=CONSUMERS.get(name),
            curve=found.get(name, Curve()),
            is_fresh=fresh,
            retries=retries.get(name),
            dead=letters.get(name, 0),
            alarms=[alarm for alarm in alarms if alarm.subject == name],
        )
        for name in names
    ]
    asked = [each.ready is not None for each in consumers if each.declared]
    return PipelineNow(
        now=now,
        sampled_at=sampled_at,
        broker=any(asked) if fresh else None,
        lag=outbox_lag(count_to=COUNT_TO),
        outbox=found.get(OUTBOX, Curve()),
        consumers=consumers,
        processes=processes(),
        alarms=alarms,
    )


def curves(now: datetime, window: str, consumer: str | None = None) -> Mapping[str, Curve]:
    """What the samples of this window have, by consumer; OUTBOX is one of them. Of one alone where it is named."""
    hours, seconds, step = WINDOWS[window]
    statement = _CURVES if consumer is None else _CURVES.replace("GROUP BY", "AND consumer = %(consumer)s GROUP BY")
    params = {"now": now, "since": now - timedelta(hours=hours), "step": step, "seconds": seconds, "consumer": consumer}
    rows: dict[str, dict[int, tuple[Point, Latest]]] = {}
    for name, ago, done, ready, age, dead, *latest in fetch(statement, params):
        rows.setdefault(name, {})[ago] = Point(int(done or 0), ready, age, int(dead)), Latest(*latest)
    number = hours * 3600 // step
    empty = Point(0, None, None, 0)
    return {
        name: Curve([by_age[ago][0] if ago in by_age else empty for ago in reversed(range(number))], _newest(by_age))
        for name, by_age in rows.items()
    }


def _newest(by_age: Mapping[int, tuple[Point, Latest]]) -> Latest:
    return by_age[min(by_age)][1]


def firing(subjects: Iterable[str] | None = None) -> list[FiringAlarm]:
    """The alarms that fire, the latest first; of these subjects alone where any are named."""
    alarms = Alarm.objects.filter(state=AlarmState.FIRING).order_by("-since", "name")
    if subjects is not None:
        alarms = alarms.filter(subject__in=list(subjects))
    found = []
    for each in alarms:
        rule = RULES.get(each.name)
        measures, advice = (rule.measures, rule.advice) if rule else ("", "")
        found.append(FiringAlarm(each.name, each.subject, each.value, each.since, measures, advice))
    return found
