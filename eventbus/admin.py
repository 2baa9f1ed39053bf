"""Events, the inbox and the outbox in Django admin: to look at, not to change."""

from typing import Any

from django.contrib import admin
from django.db.models import Case, QuerySet, Value, When
from django.http import HttpRequest
from django.utils.html import format_html

from eventbus import alarms, listeners_admin  # noqa: F401  the second registers its page
from eventbus.admin_tools import ReadOnlyAdmin, by_uuid
from eventbus.dead_letters import admin as dead_letters  # noqa: F401  it registers its pages
from eventbus.event_replays import admin as event_replays  # noqa: F401
from eventbus.models import Alarm, AlarmNotice, AlarmState, Event, Outbox, ProcessedEventRow


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """The archive. Searching is by whole ids: they are indexed, a part of one is not."""

    list_display = ["id", "type", "version", "aggregate_id", "sequence", "occurred_at", "correlation_id"]
    list_filter = ["type", "version", "occurred_at"]
    search_fields = ["aggregate_id__exact", "correlation_id__exact"]
    search_help_text = "A whole event, order, product or correlation id"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        found, distinct = super().get_search_results(request, queryset, search_term)
        return found | by_uuid(queryset, "id", search_term), distinct


@admin.register(ProcessedEventRow)
class ProcessedEventAdmin(ReadOnlyAdmin):
    """What each consumer has done with each event."""

    list_display = ["event_id", "consumer", "outcome", "attempts", "processed_at"]
    list_display_links = None
    list_filter = ["consumer", "outcome"]
    search_fields = ["consumer__exact"]
    search_help_text = "A whole event id, or a consumer's name"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ProcessedEventRow], search_term: str
    ) -> tuple[QuerySet[ProcessedEventRow], bool]:
        found, distinct = super().get_search_results(request, queryset, search_term)
        return found | by_uuid(queryset, "event_id", search_term), distinct


@admin.register(Outbox)
class OutboxAdmin(ReadOnlyAdmin):
    """What the broker has not confirmed yet."""

    list_display = ["position", "event_id", "aggregate_id", "held_by"]
    list_display_links = None
    ordering = ["position"]


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
        rule = alarms.registry.get(alarm.name)
        return rule.threshold if rule else None

    @admin.display(description="what it is, and what to do")
    def advice(self, alarm: Alarm) -> str:
        rule = alarms.registry.get(alarm.name)
        if rule is None:
            return ""
        return f"{rule.measures}. {rule.advice}" if alarm.state == AlarmState.FIRING else rule.measures


@admin.register(AlarmNotice)
class AlarmNoticeAdmin(ReadOnlyAdmin):
    """Who was told of which change, and what has not arrived yet."""

    list_display = ["changed_at", "name", "subject", "state", "value", "channel", "delivered_at", "attempts", "error"]
    list_display_links = None
    list_filter = ["channel", "state", "name"]
