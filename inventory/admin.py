"""Stock and reservations in Django admin. Quantities are changed by receipts and orders, never typed over."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.validators import RegexValidator
from django.db.models import F, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from eventbus import acting_as
from eventbus.admin import ReadOnlyAdmin
from inventory import services, stock_pages
from inventory.events import PRINTABLE
from inventory.models import Reservation, Stock

printable = RegexValidator(PRINTABLE, "No line breaks or other control characters.")


class Low(admin.SimpleListFilter):
    title = "level"
    parameter_name = "level"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("low", "Low"), ("out", "Sold out")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Stock]) -> QuerySet[Stock]:
        if self.value() == "low":
            return queryset.filter(available__lt=F("low_threshold"))
        return queryset.filter(available=0) if self.value() == "out" else queryset


class ReceiptForm(forms.Form):
    product_id = forms.CharField(max_length=64, validators=[printable])
    product_name = forms.CharField(
        max_length=200,
        required=False,
        validators=[printable],
        help_text="Needed for a new product; renames a known one.",
    )
    quantity = forms.IntegerField(min_value=1, max_value=2**31 - 1)


@admin.register(Stock)
class StockAdmin(ReadOnlyAdmin):
    """Stock per product. Its name and threshold may be edited; goods come in, and counts, by the buttons."""

    list_display = ["product_id", "product_name", "available", "reserved", "shipped", "received", "low_threshold"]
    list_filter = [Low]
    search_fields = ["product_id", "product_name"]
    search_help_text = "A part of a product's id or name"
    readonly_fields = ["product_id", "available", "reserved", "shipped", "received"]

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    def save_model(self, request: HttpRequest, obj: Stock, form: Any, change: bool) -> None:
        # The whole row would write back the quantities as they were when the form was opened.
        obj.save(update_fields=form.changed_data)

    def get_urls(self) -> list[URLPattern]:
        pages = {"receive": self.receive, "count": self.count, "ledger": self.ledger}
        own = [
            path(f"{name}/", self.admin_site.admin_view(view), name=f"inventory_stock_{name}")
            for name, view in pages.items()
        ]
        return [*own, *super().get_urls()]

    def count(self, request: HttpRequest) -> HttpResponse:
        """The form by which a count goes into the books."""
        if not request.user.has_perm("inventory.count_stock"):
            raise PermissionDenied
        return stock_pages.count(self, request)

    def ledger(self, request: HttpRequest) -> HttpResponse:
        """All that ever changed a product's stock."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return stock_pages.ledger(self, request)

    def receive(self, request: HttpRequest) -> HttpResponse:
        """The form by which goods come in."""
        if not request.user.has_perm("inventory.receive_stock"):
            raise PermissionDenied
        form = ReceiptForm(request.POST or None, initial={"product_id": request.GET.get("product_id", "")})
        if request.method == "POST" and form.is_valid() and self._receive(request, form):
            return redirect("admin:inventory_stock_changelist")
        context = {**self.admin_site.each_context(request), "title": "Receive stock", "form": form, "opts": self.opts}
        return TemplateResponse(request, "admin/inventory/stock/receive.html", context)

    def _receive(self, request: HttpRequest, form: ReceiptForm) -> bool:
        try:
            with acting_as(request.user.pk):
                stock = services.receive_stock(**form.cleaned_data)
        except services.NamelessProduct as error:
            form.add_error("product_name", str(error))
            return False
        self.log_change(request, stock, f"Received {form.cleaned_data['quantity']}.")
        messages.success(request, f"Received {form.cleaned_data['quantity']} of {stock}.")
        return True


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    """What was set aside for which order, and what was refused."""

    list_display = ["order_id", "product_id", "quantity", "state", "created_at"]
    list_filter = ["state"]
    # Exactly as written: without regard to case it would not find its index.
    search_fields = ["product_id__exact"]
    uuid_search_fields = ["order_id"]
    search_help_text = "A whole order id or product id"
