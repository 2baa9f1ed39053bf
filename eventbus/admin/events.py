"""Events, the inbox and the outbox in Django admin, read-only."""

from django.contrib import admin

from eventbus.admin.read_only import ReadOnlyAdmin
from eventbus.archive.models import ArchivedEvent
from eventbus.relay.models import Outbox
from eventbus.worker.models import ProcessedEventRow


@admin.register(ArchivedEvent)
class EventAdmin(ReadOnlyAdmin):
    """The archive. Searching is by whole ids: they are indexed, a part of one is not."""

    list_display = ["id", "type", "version", "aggregate_id", "sequence", "occurred_at", "correlation_id"]
    list_filter = ["type", "version", "occurred_at"]
    search_fields = ["aggregate_id__exact", "correlation_id__exact"]
    uuid_search_fields = ["id"]
    search_help_text = "A whole event, order, product or correlation id"


@admin.register(ProcessedEventRow)
class ProcessedEventAdmin(ReadOnlyAdmin):
    """What each consumer has done with each event."""

    list_display = ["event_id", "consumer", "outcome", "attempts", "processed_at"]
    list_display_links = None
    list_filter = ["consumer", "outcome"]
    search_fields = ["consumer__exact"]
    uuid_search_fields = ["event_id"]
    search_help_text = "A whole event id, or a consumer's name"


@admin.register(Outbox)
class OutboxAdmin(ReadOnlyAdmin):
    """What the broker has not confirmed yet."""

    list_display = ["position", "event_id", "aggregate_id", "blocked_key"]
    list_display_links = None
    ordering = ["position"]
