from django.contrib import admin

from api.models import ChannelLimit


@admin.register(ChannelLimit)
class ChannelLimitAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Who may ask more or less often than CHANNEL_RATE_LIMIT."""

    list_display = ["user", "per_second"]
    autocomplete_fields = ["user"]
    search_fields = ["user__username"]
