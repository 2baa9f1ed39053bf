"""Who listens to what, as a page of Django admin: read from the declarations, nothing to change."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from eventbus.admin.read_only import ReadOnlyAdmin
from eventbus.subscriptions.catalogue import consumer_entries, contract_entries
from eventbus.subscriptions.models import Subscription


@admin.register(Subscription)
class ConsumerAdmin(ReadOnlyAdmin):
    """Consumers and contracts, for those who may see the pipeline. The rows themselves are the bus's own notes."""

    class Media:
        css = {"all": ["eventbus/dead_letters.css"]}

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Subscription | None = None) -> bool:
        return request.user.has_perm("eventbus.view_pipeline")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "Who listens to what",
            "opts": self.opts,
            "media": self.media,
            "consumers": consumer_entries(),
            "events": contract_entries(),
        }
        return TemplateResponse(request, "eventbus/consumers.html", context)
