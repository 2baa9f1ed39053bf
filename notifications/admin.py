"""Mails in Django admin: to find, to read, and to send again where only a person can decide."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from eventbus import acting_as
from eventbus.admin import ReadOnlyAdmin
from notifications import services
from notifications.models import Mail
from notifications.queries import STUCK


@admin.register(Mail)
class MailAdmin(ReadOnlyAdmin):
    """Every mail and what became of it."""

    list_display = ["to", "kind", "state", "order_id", "created_at", "sent_at", "error"]
    list_filter = ["state", "kind"]
    search_fields = ["=to"]
    uuid_search_fields = ["order_id"]
    search_help_text = "A whole order id or e-mail address"
    # The HTML part is left out: it says the same, and nobody reads markup.
    fields = ["to", "subject", "text", "state", "error", "kind", "order_id", "message_id", "created_at", "sent_at"]
    actions = ["resend"]

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("notifications.resend_mail")

    @admin.action(description="Send again mails that are in doubt or were refused", permissions=["resend"])
    def resend(self, request: HttpRequest, queryset: QuerySet[Mail]) -> HttpResponse | None:
        stuck = queryset.filter(state__in=STUCK)
        if "confirmed" not in request.POST:
            context: dict[str, Any] = {
                **self.admin_site.each_context(request),
                "title": "Send mails again?",
                "opts": self.opts,
                "mails": stuck,
                "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
                "checkbox": ACTION_CHECKBOX_NAME,
            }
            return TemplateResponse(request, "admin/notifications/mail/resend.html", context)
        # Afterwards the page's own filter may not find them any more.
        selected = queryset.count()
        with acting_as(request.user.pk):
            queued = [mail for mail in stuck if services.resend_mail(mail.pk)]
        for mail in queued:
            self.log_change(request, mail, f"Sent again; it was {mail.get_state_display()}.")
        messages.success(request, f"Queued again: {len(queued)} of {selected} selected.")
        return None
