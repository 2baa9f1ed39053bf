"""Webhooks in Django admin: who is told what, what became of it, and the help that a partner may need."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from eventbus.admin import ReadOnlyAdmin
from webhooks import services
from webhooks.catalogue import BY_TYPE
from webhooks.models import Attempt, Delivery, Webhook


class WebhookForm(forms.Form):
    """A webhook that is made for a partner. Filters are the partner's own affair, by the API."""

    owner = forms.ModelChoiceField(get_user_model().objects.filter(is_active=True))
    url = forms.CharField(max_length=2_000)
    event_types = forms.MultipleChoiceField(choices=[(each, each) for each in sorted(BY_TYPE)])
    description = forms.CharField(max_length=200, required=False)

    def clean(self) -> dict[str, Any]:
        """Raises no error: a form keeps it."""
        said = super().clean() or {}
        if not self.errors:
            try:
                said["wish"] = services.Wish(said["url"], said["event_types"], {}, said["description"])
            except ValueError as error:
                self.add_error("url", str(error))
        return said


class ByHand(ReadOnlyAdmin):
    """To read, with actions for those who may manage webhooks."""

    def has_manage_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("webhooks.manage_webhook")


@admin.register(Webhook)
class WebhookAdmin(ByHand):
    list_display = ["url", "owner", "state", "failures", "failing_since", "disabled_because", "created_at"]
    list_filter = ["state"]
    list_select_related = ["owner"]
    search_fields = ["url", "owner__username"]
    uuid_search_fields = ["id"]
    search_help_text = "A part of an address or of its owner's name, or a whole id"
    # Its secrets are shown to nobody.
    exclude = ["secret", "previous_secret", "recovering_from", "recovering_until"]
    actions = ["ping", "pause", "resume"]
    change_list_template = "admin/webhooks/webhook/change_list.html"

    def get_urls(self) -> list[URLPattern]:
        make = path("make/", self.admin_site.admin_view(self.make), name="webhooks_webhook_make")
        return [make, *super().get_urls()]

    def make(self, request: HttpRequest) -> HttpResponse:
        """The form for a new one; the answer shows its secret, once."""
        if not self.has_manage_permission(request):
            raise PermissionDenied
        form = WebhookForm(request.POST or None)
        context = {**self.admin_site.each_context(request), "title": "Make a webhook", "form": form, "opts": self.opts}
        if request.method == "POST" and form.is_valid():
            said = form.cleaned_data
            try:
                context["webhook"], context["secret"] = services.create_webhook(owner=said["owner"], wish=said["wish"])
                self.log_addition(request, context["webhook"], "Made.")
            except services.TooManyWebhooks as error:
                form.add_error("owner", str(error))
        return TemplateResponse(request, "admin/webhooks/webhook/make.html", context)

    @admin.action(description="Send a test", permissions=["manage"])
    def ping(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> None:
        for webhook in queryset:
            try:
                services.ping(webhook.pk)
            except (services.NotActive, Webhook.DoesNotExist) as error:
                messages.error(request, f"Not sent to {webhook}: {error}")
            else:
                self.log_change(request, webhook, "Sent a test.")
                messages.success(request, f"A test is on its way to {webhook}: see Deliveries.")

    @admin.action(description="Pause", permissions=["manage"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> None:
        for webhook in queryset:
            services.pause(webhook.pk)
            self.log_change(request, webhook, "Paused.")

    @admin.action(description="Resume", permissions=["manage"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> None:
        for webhook in queryset:
            services.resume(webhook.pk)
            self.log_change(request, webhook, "Resumed.")


class AttemptInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Attempt
    fields = ["at", "status", "milliseconds", "error", "answer"]
    readonly_fields = ["at", "status", "milliseconds", "error", "answer"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:
        return False


@admin.register(Delivery)
class DeliveryAdmin(ByHand):
    list_display = ["event_type", "aggregate_id", "webhook", "state", "tries", "due_at", "error", "created_at"]
    list_filter = ["state", "event_type"]
    list_select_related = ["webhook"]
    search_fields = ["aggregate_id__exact"]
    uuid_search_fields = ["id", "event_id", "webhook_id"]
    search_help_text = "A whole id: of a delivery, an event, a webhook, an order or a product"
    exclude = ["claimed_by"]
    inlines = [AttemptInline]
    actions = ["resend"]

    @admin.action(description="Send again", permissions=["manage"])
    def resend(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        for delivery in queryset.select_related("webhook"):
            try:
                services.resend(delivery)
            except services.NotActive as error:
                messages.error(request, f"Not sent: {delivery}. {error}")
            else:
                self.log_change(request, delivery, "Sent again.")
