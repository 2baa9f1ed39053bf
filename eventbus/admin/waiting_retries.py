"""Retries that wait, in Django admin: to read, to hurry, and to give up."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from eventbus.admin.dead_letters.pages import person
from eventbus.admin.read_only import ReadOnlyAdmin
from eventbus.dead_letters.cancelling import cancel
from eventbus.retries.models import WaitingRetry
from eventbus.retries.services import hurry


@admin.register(WaitingRetry)
class WaitingRetryAdmin(ReadOnlyAdmin):
    """What failed and comes again, what is due first coming first."""

    list_display = ["due_at", "consumer", "event_type", "aggregate_id", "attempt", "first_failed_at", "last_error"]
    list_filter = ["consumer", "event_type"]
    fields = [
        "consumer", "event_id", "event_type", "aggregate_type", "aggregate_id", "attempt", "due_at", "first_failed_at",
        "last_error", "refusals", "created_at",
    ]  # fmt: skip
    search_fields = ["aggregate_id__exact"]
    uuid_search_fields = ["event_id"]
    search_help_text = "A whole event, order or product id"
    ordering = ["due_at", "pk"]
    actions = ["hurry_retries", "cancel_retries"]

    class Media:
        css = {"all": ["eventbus/dead_letters.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[WaitingRetry]:
        return super().get_queryset(request).defer("body", "headers", "properties")

    def has_hurry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("eventbus.hurry_waiting_retry")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("eventbus.cancel_waiting_retry")

    @admin.action(description="Send at once", permissions=["hurry"])
    def hurry_retries(self, request: HttpRequest, retries: QuerySet[WaitingRetry]) -> HttpResponse:
        return self.confirmed(request, retries, hurry, "Send at once", "They do not wait until they are due.")

    @admin.action(description="Make dead letters of them", permissions=["cancel"])
    def cancel_retries(self, request: HttpRequest, retries: QuerySet[WaitingRetry]) -> HttpResponse:
        text = "They are not tried again by themselves. As dead letters they can be read and replayed."
        return self.confirmed(request, retries, cancel, "Make dead letters of them", text)

    def confirmed(
        self, request: HttpRequest, retries: QuerySet[WaitingRetry], act: Callable[..., int], verb: str, text: str
    ) -> HttpResponse:
        """Ask, then do it."""
        ids = list(retries.order_by().values_list("pk", flat=True))
        if "confirmed" in request.POST:
            done = act(ids=ids, by=person(request)) if ids else 0
            messages.success(request, f"{verb}: {done} of {len(ids)} retries.")
            return redirect(request.get_full_path())
        kept = ["action", "select_across", "index", ACTION_CHECKBOX_NAME]
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": f"{verb}?",
            "opts": self.opts,
            "media": self.media,
            "found": len(ids),
            "verb": verb,
            "text": text,
            "hidden": [(name, value) for name in kept for value in request.POST.getlist(name)],
            "back": request.get_full_path(),
        }
        return TemplateResponse(request, "eventbus/waiting_retries/confirm.html", context)
