"""Alarms: rules as data, states that remember, and one notice per change of state.

A rule measures one number per subject (mostly a consumer). It fires when the number was at or over its threshold in
`evaluations` evaluations in a row, and goes on firing until the number is below `clear`: a value that wavers around the
threshold is one alarm.
The bus's own rules are in `eventbus.monitoring.bus_rules`; an app declares its own in its `alarms.py`.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction

from eventbus.conf import bus_settings
from eventbus.db.locks import AdvisoryLock
from eventbus.db.sql import fetch
from eventbus.heartbeats.processes import processes
from eventbus.ids import new_id
from eventbus.monitoring.models import Alarm, AlarmChange, AlarmNotice, AlarmState
from eventbus.monitoring.rules import RULES, Observation, Rule
from eventbus.monitoring.status import bus_status_or_error
from eventbus.relay.lag import outbox_lag
from eventbus.restores.backups import backup_status

log = structlog.get_logger(__name__)

COUNT_TO = 10_000_000
KEEP_NOTICES = timedelta(days=90)

#: Seconds between two evaluations at least. Who watches looks every two seconds: it is half a minute at most.
EVERY = 28
CLAIM = """
INSERT INTO alarm_evaluation AS last (id, begun_at) VALUES (1, clock_timestamp())
ON CONFLICT (id) DO UPDATE SET begun_at = excluded.begun_at
WHERE last.begun_at <= clock_timestamp() - %s * interval '1 second'
RETURNING begun_at
"""


def observe() -> Observation:
    """Ask database and broker. Raises DatabaseError."""
    bus, error = bus_status_or_error()
    backups = backup_status() if bus is None else bus.backups
    return Observation(outbox_lag(count_to=COUNT_TO), bus, error, processes(), backups)


def is_due() -> bool:
    """Whether nobody has evaluated in the last half minute: then it is the caller's turn, and nobody else's."""
    return bool(fetch(CLAIM, [EVERY]))


def evaluate(*, dry_run: bool = False) -> list[Alarm]:
    """Measure every rule, remember the states, and note each change for delivery; returns all alarms, firing first.

    With `dry_run` nothing is stored. Raises DatabaseError.
    """
    seen = observe()
    measured = {each: _measure(each, seen, dry_run=dry_run) for each in RULES.values()}
    now = datetime.now(UTC)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_xact_lock({AdvisoryLock.ALARM_EVALUATION})")
        known = {(alarm.name, alarm.subject): alarm for alarm in Alarm.objects.filter(name__in=RULES)}
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


def _measure(rule: Rule, seen: Observation, *, dry_run: bool) -> Mapping[str, float] | None:
    """What the rule measures. One that is broken, such as an app's, must not silence the others."""
    try:
        if not dry_run:
            return rule.measure(seen)
        with transaction.atomic():
            measured = rule.measure(seen)
            # A rule may note how far it has looked.
            transaction.set_rollback(True)
        return measured
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        log.error("alarm.not_measured", alarm=rule.name, exc_info=error)
        return None


def urgency(alarm: Alarm) -> tuple[int, str, str]:
    """Sorts what fires first."""
    order = [AlarmState.FIRING, AlarmState.PENDING, AlarmState.OK]
    return order.index(AlarmState(alarm.state)), alarm.name, alarm.subject


def step(rule: Rule, alarm: Alarm, value: float, now: datetime) -> bool:
    """Move an alarm on by one evaluation; returns whether people are to be notified of the change."""
    before = AlarmState(alarm.state)
    alarm.count = alarm.count + 1 if value >= rule.threshold else 0
    if before is AlarmState.FIRING and value >= rule.clear:
        after = AlarmState.FIRING
    elif not alarm.count:
        after = AlarmState.OK
    else:
        after = AlarmState.FIRING if alarm.count >= rule.evaluations else AlarmState.PENDING
    # For people: nobody reads seconds by their nanoseconds.
    alarm.value, alarm.evaluated_at = round(value, 3), now
    if after is not before:
        alarm.state, alarm.since = after, now
    return after is not before and AlarmState.FIRING in (before, after)


def _store(alarms: Iterable[Alarm], changed: list[Alarm], now: datetime) -> None:
    Alarm.objects.exclude(name__in=RULES).delete()
    Alarm.objects.bulk_create(
        alarms,
        update_conflicts=True,
        unique_fields=["name", "subject"],
        update_fields=["state", "count", "value", "since", "evaluated_at"],
    )
    for alarm in changed:
        log.warning("alarm.changed", alarm=alarm.name, subject=alarm.subject, state=alarm.state, value=alarm.value)
    AlarmChange.objects.filter(changed_at__lt=now - KEEP_NOTICES).delete()
    AlarmChange.objects.bulk_create(
        AlarmChange(name=each.name, subject=each.subject, state=each.state, value=each.value, changed_at=now)
        for each in changed
    )
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
        for channel, is_set in (("mail", bus_settings.ALARM_EMAIL), ("webhook", bus_settings.ALARM_WEBHOOK_URL))
        if is_set
    )
