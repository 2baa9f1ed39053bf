"""Alarms, their notices, and the processes in Django admin."""

from typing import Any

from django.contrib import admin
from django.db.models import Case, Value, When
from django.http import HttpRequest
from django.utils.html import format_html

from eventbus.admin.read_only import ReadOnlyAdmin
from eventbus.heartbeats.models import Heartbeat
from eventbus.monitoring.models import Alarm, AlarmNotice, AlarmState
from eventbus.monitoring.rules import RULES


@admin.register(Alarm)
class AlarmAdmin(ReadOnlyAdmin):
    """What is wrong now, and what was measured of the rest."""

    list_display = ["shown_state", "name", "subject", "value", "threshold", "since", "evaluated_at", "advice"]
    list_display_links = None
    list_filter = ["state", "name"]

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        by_urgency = {AlarmState.FIRING: 0, AlarmState.PENDING: 1}
        urgency = Case(*[When(state=state, then=Value(place)) for state, place in by_urgency.items()], default=Value(2))
        return [urgency, "name", "subject"]

    @admin.display(description="state")
    def shown_state(self, alarm: Alarm) -> str:
        colours = {AlarmState.FIRING: "#ba2121", AlarmState.PENDING: "#b7791f", AlarmState.OK: "inherit"}
        return format_html('<b style="color: {}">{}</b>', colours[AlarmState(alarm.state)], alarm.state)

    @admin.display
    def threshold(self, alarm: Alarm) -> float | None:
        rule = RULES.get(alarm.name)
        return rule.threshold if rule else None

    @admin.display(description="what it is, and what to do")
    def advice(self, alarm: Alarm) -> str:
        rule = RULES.get(alarm.name)
        if rule is None:
            return ""
        return f"{rule.measures}. {rule.advice}" if alarm.state == AlarmState.FIRING else rule.measures


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdmin):
    """Every process, and when it last gave a sign of life."""

    list_display = ["kind", "host", "pid", "code_version", "started_at", "beat_at"]
    list_display_links = None
    list_filter = ["kind"]


@admin.register(AlarmNotice)
class AlarmNoticeAdmin(ReadOnlyAdmin):
    """Who was notified of which change, and what has not arrived yet."""

    list_display = ["changed_at", "name", "subject", "state", "value", "channel", "delivered_at", "attempts", "error"]
    list_display_links = None
    list_filter = ["channel", "state", "name"]
