"""Alarms: rules as data, states that remember, and one notice per change of state.

A rule measures one number per subject (mostly a consumer). At or over its threshold in so many evaluations in a row it
fires, and goes on firing until the number is below `clear`: a value that wavers around the threshold is one alarm.
The bus's own rules are in `eventbus.alarm_rules`; an app declares its own in `queries.py`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection, transaction

from eventbus.context import new_id
from eventbus.models import Alarm, AlarmNotice, AlarmState
from eventbus.pressure import Lag, outbox_lag
from eventbus.status import BusStatus, bus_status_or_error

log = structlog.get_logger(__name__)

#: The advisory lock of an evaluation: two at once would count one moment twice.
EVALUATION_LOCK = 0xA1A
COUNT_TO = 10_000_000
KEEP_NOTICES = timedelta(days=90)


@dataclass(frozen=True)
class Seen:
    """What an evaluation starts from. `bus` is None where the broker doesn't answer; `broker_error` then says why."""

    lag: Lag
    bus: BusStatus | None
    broker_error: str = ""


#: The number per subject; what is left out counts as 0. None: it can't be measured now, and the states stay.
Measure = Callable[[Seen], Mapping[str, float] | None]


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


registry: dict[str, Rule] = {}


def rule(
    name: str, measures: str, *, threshold: float, advice: str, clear: float | None = None, evaluations: int = 1
) -> Callable[[Measure], Measure]:
    """Declare a rule over a function that measures. Raises ValueError on a wrong or repeated declaration."""
    below = threshold if clear is None else clear
    if below > threshold or evaluations < 1:
        raise ValueError(f"Alarm {name!r}: clear is at most the threshold, and evaluations at least 1.")

    def declare(measure: Measure) -> Measure:
        if name in registry:
            raise ValueError(f"The alarm {name!r} is declared twice. Pick another name.")
        registry[name] = Rule(name, measures, threshold, below, evaluations, advice, measure)
        return measure

    return declare


def look() -> Seen:
    """Ask database and broker. Raises DatabaseError."""
    bus, error = bus_status_or_error()
    return Seen(outbox_lag(count_to=COUNT_TO), bus, error)


def evaluate(*, dry_run: bool = False) -> list[Alarm]:
    """Measure every rule, remember the states, and note each change for delivery; returns all alarms, firing first.

    With `dry_run` nothing is stored. Raises DatabaseError.
    """
    seen = look()
    measured = {each: each.measure(seen) for each in registry.values()}
    now = datetime.now(UTC)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [EVALUATION_LOCK])
        known = {(alarm.name, alarm.subject): alarm for alarm in Alarm.objects.filter(name__in=registry)}
        changed = []
        for each, values in measured.items():
            if values is None:
                continue
            for subject in {*values, *(subject for name, subject in known if name == each.name)}:
                alarm = known.setdefault((each.name, subject), Alarm(name=each.name, subject=subject, since=now))
                if step(each, alarm, values.get(subject, 0.0), now):
                    changed.append(alarm)
        if not dry_run:
            _store(known.values(), changed, now)
    return sorted(known.values(), key=urgency)


def urgency(alarm: Alarm) -> tuple[int, str, str]:
    """Sorts what fires first."""
    order = [AlarmState.FIRING, AlarmState.PENDING, AlarmState.OK]
    return order.index(AlarmState(alarm.state)), alarm.name, alarm.subject


def step(rule: Rule, alarm: Alarm, value: float, now: datetime) -> bool:
    """Move an alarm on by one evaluation; returns whether it is a change that people are told of."""
    before = AlarmState(alarm.state)
    alarm.count = alarm.count + 1 if value >= rule.threshold else 0
    if before is AlarmState.FIRING and value >= rule.clear:
        after = AlarmState.FIRING
    elif not alarm.count:
        after = AlarmState.OK
    else:
        after = AlarmState.FIRING if alarm.count >= rule.evaluations else AlarmState.PENDING
    alarm.value, alarm.evaluated_at = value, now
    if after is not before:
        alarm.state, alarm.since = after, now
    return after is not before and AlarmState.FIRING in (before, after)


def _store(alarms: Iterable[Alarm], changed: list[Alarm], now: datetime) -> None:
    Alarm.objects.exclude(name__in=registry).delete()
    Alarm.objects.bulk_create(
        alarms,
        update_conflicts=True,
        unique_fields=["name", "subject"],
        update_fields=["state", "count", "value", "since", "evaluated_at"],
    )
    for alarm in changed:
        log.warning("alarm.changed", alarm=alarm.name, subject=alarm.subject, state=alarm.state, value=alarm.value)
    AlarmNotice.objects.filter(changed_at__lt=now - KEEP_NOTICES).delete()
    AlarmNotice.objects.bulk_create(
        AlarmNotice(
            id=new_id(),
            name=alarm.name,
            subject=alarm.subject,
            state=alarm.state,
            value=alarm.value,
            changed_at=now,
            channel=channel,
        )
        for alarm in changed
        for channel, is_set in (("mail", settings.ALARM_EMAIL), ("webhook", settings.ALARM_WEBHOOK_URL))
        if is_set
    )
