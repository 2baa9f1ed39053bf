"""Every alarm as it stands, and when it fired in the last two weeks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from eventbus.db.clock import database_time
from eventbus.monitoring.alarms import urgency
from eventbus.monitoring.models import Alarm, AlarmChange, AlarmState
from eventbus.monitoring.rules import RULES

LOOK_BACK = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class AlarmNow:
    """An alarm, its rule's words, and the stretches in which it fired, each as its begin and its end."""

    row: Alarm
    threshold: float | None
    measures: str
    advice: str
    fired: Sequence[tuple[datetime, datetime]]


def alarms_now() -> tuple[datetime, list[AlarmNow]]:
    """The moment, and all alarms, what fires first."""
    now = database_time()
    changes: dict[tuple[str, str], list[AlarmChange]] = {}
    for change in AlarmChange.objects.filter(changed_at__gte=now - LOOK_BACK).order_by("changed_at"):
        changes.setdefault((change.name, change.subject), []).append(change)
    found = []
    for alarm in sorted(Alarm.objects.all(), key=urgency):
        rule = RULES.get(alarm.name)
        threshold, measures, advice = (rule.threshold, rule.measures, rule.advice) if rule else (None, "", "")
        fired = _fired(changes.get((alarm.name, alarm.subject), []), alarm, now)
        found.append(AlarmNow(alarm, threshold, measures, advice, fired))
    return now, found


def _fired(changes: Sequence[AlarmChange], alarm: Alarm, now: datetime) -> list[tuple[datetime, datetime]]:
    """The stretches between its changes. One that began before we look back begins there."""
    stretches, began = [], None
    for change in changes:
        if change.state == AlarmState.FIRING:
            began = began or change.changed_at
        else:
            stretches.append((began or now - LOOK_BACK, change.changed_at))
            began = None
    if alarm.state == AlarmState.FIRING:
        stretches.append((began or max(alarm.since, now - LOOK_BACK), now))
    return stretches
