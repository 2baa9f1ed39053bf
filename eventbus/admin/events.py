"""Events, the inbox and the outbox in Django admin, read-only."""

import msgspec
from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from eventbus.admin.read_only import ReadOnlyAdmin
from eventbus.archive.models import ArchivedEvent
from eventbus.contracts.exact_json import encode_json
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
    exclude = ["data"]
    readonly_fields = ["payload"]

    @admin.display(description="data")
    def payload(self, event: ArchivedEvent) -> SafeString:
        written = msgspec.json.format(encode_json(event.data), indent=2).decode()
        return format_html('<pre class="bus-json">{}</pre>', written)


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
