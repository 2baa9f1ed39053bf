"""Shipments in Django admin: to find, and to send off."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.validators import RegexValidator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from eventbus import acting_as
from eventbus.admin import ReadOnlyAdmin
from shipping import services
from shipping.models import Shipment, State

#: More tracking numbers than this nobody types on one page.
AT_ONCE = 50

printable = RegexValidator(r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$", "No line breaks or other control characters.")


class DispatchForm(forms.Form):
    """How parcels travel that go together: a tracking number for each."""

    carrier = forms.CharField(max_length=100, validators=[printable])
    estimated_delivery = forms.DateField(widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, shipments: QuerySet[Shipment], data: Any = None) -> None:
        super().__init__(data)
        for shipment in shipments:
            field = forms.CharField(max_length=100, validators=[printable], label=f"Tracking number of {shipment.pk}")
            self.fields[f"tracking_{shipment.pk}"] = field

    def clean(self) -> dict[str, Any]:
        """Each parcel has a number of its own: one that was typed twice names the wrong parcel."""
        said = super().clean() or {}
        numbers = [value for name, value in said.items() if name.startswith("tracking_")]
        for name, value in said.items():
            if name.startswith("tracking_") and numbers.count(value) > 1:
                self.errors.setdefault(name, self.error_class()).append("Another parcel on this page has this number.")
        if (day := said.get("estimated_delivery")) is not None:
            try:
                services.check_delivery(day)
            except services.ImplausibleDelivery as error:
                self.add_error("estimated_delivery", str(error))
        return said


@admin.register(Shipment)
class ShipmentAdmin(ReadOnlyAdmin):
    """Parcels. They become ready by events; the dispatch is a person's to say."""

    list_display = ["order_id", "state", "carrier", "tracking_number", "estimated_delivery", "dispatched_at"]
    list_filter = ["state"]
    search_fields = ["tracking_number__exact"]
    uuid_search_fields = ["order_id"]
    search_help_text = "A whole order id or tracking number"
    fieldsets = [
        (None, {"fields": ["order_id", "state", "destination", "contents", "created_at"]}),
        ("Dispatch", {"fields": ["carrier", "tracking_number", "estimated_delivery", "dispatched_at"]}),
    ]
    readonly_fields = ["destination", "contents"]
    actions = ["dispatch_selected"]

    def has_dispatch_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("shipping.dispatch_shipment")

    @admin.display(description="address")
    def destination(self, shipment: Shipment) -> SafeString:
        parts = ("street", "postalCode", "city", "state", "country")
        return format_html_join("", "{}<br>", ((shipment.address[part],) for part in parts if shipment.address))

    @admin.display(description="items")
    def contents(self, shipment: Shipment) -> SafeString:
        lines = ((item["quantity"], item["productId"]) for item in shipment.items or [])
        return format_html_join("", "{} of {}<br>", lines)

    @admin.action(description="Dispatch shipments that are ready to go", permissions=["dispatch"])
    def dispatch_selected(self, request: HttpRequest, queryset: QuerySet[Shipment]) -> HttpResponse | None:
        ready = queryset.filter(state=State.PREPARED).order_by("order_id")[:AT_ONCE]
        form = DispatchForm(ready, request.POST if "confirmed" in request.POST else None)
        if not form.is_valid():
            context: dict[str, Any] = {
                **self.admin_site.each_context(request),
                "title": "Dispatch shipments",
                "opts": self.opts,
                "form": form,
                "shipments": ready,
                "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
                "checkbox": ACTION_CHECKBOX_NAME,
            }
            return TemplateResponse(request, "admin/shipping/shipment/dispatch.html", context)
        # Afterwards the page's own filter may not find them any more.
        selected = queryset.count()
        gone = [shipment for shipment in ready if self._dispatch(request, shipment, form.cleaned_data)]
        messages.success(request, f"Dispatched: {len(gone)} of {selected} selected.")
        return None

    def _dispatch(self, request: HttpRequest, shipment: Shipment, said: dict[str, Any]) -> bool:
        how = {"carrier": said["carrier"], "estimated_delivery": said["estimated_delivery"]}
        try:
            with acting_as(request.user.pk):
                services.dispatch(order_id=shipment.pk, tracking_number=said[f"tracking_{shipment.pk}"], **how)
        except (services.CannotDispatch, services.ImplausibleDelivery) as error:
            messages.error(request, f"Not dispatched: {shipment.pk}. {error}")
            return False
        self.log_change(request, shipment, "Dispatched.")
        return True
