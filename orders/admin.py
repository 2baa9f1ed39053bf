"""Orders in Django admin: to look at. They change by events, not by hand."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from eventbus import database_time
from eventbus.admin import ReadOnlyAdmin
from eventbus.archive import events_of, first_id_at
from orders.currencies import in_currency
from orders.models import Order, OrderAdjustment, OrderItem
from orders.queries import overdue


class Placed(admin.SimpleListFilter):
    """By age, through the time that ids begin with: a date column would need an index of its own."""

    title = "placed"
    parameter_name = "placed"
    days = {"1": "in the last day", "7": "in the last 7 days", "30": "in the last 30 days"}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self.days.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:
        if self.value() not in self.days:
            return queryset
        return queryset.filter(id__gte=first_id_at(database_time() - timedelta(days=int(self.value() or 0))))


class TimedOut(admin.SimpleListFilter):
    """Orders that nothing answered in time: given up, and those that will be at the next look."""

    title = "deadline"
    parameter_name = "deadline"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("missed", "Timed out"), ("overdue", "Overdue now")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:
        if self.value() == "missed":
            return queryset.filter(timed_out_at__isnull=False)
        return overdue(queryset, database_time()) if self.value() == "overdue" else queryset


class Currency(admin.SimpleListFilter):
    """Those of the newest orders: asking the whole table which it has would read all of it."""

    title = "currency"
    parameter_name = "currency"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = Order.objects.order_by("-id").values_list("currency")[:10_000]
        return [(code, code) for code in sorted({code for (code,) in newest})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:
        return queryset.filter(currency=self.value()) if self.value() else queryset


class PartInline(admin.TabularInline):  # type: ignore[type-arg]
    """Rows of an order."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        # An order without its items says nothing: who may see the one may see the other.
        return request.user.has_perm("orders.view_order")


class ItemInline(PartInline):
    model = OrderItem
    fields = ["line", "product_id", "product_name", "quantity", "unit_price"]
    verbose_name_plural = "items"


class AdjustmentInline(PartInline):
    model = OrderAdjustment
    fields = ["line", "kind", "label", "amount"]
    verbose_name_plural = "adjustments"


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    """Orders with their lines and their history."""

    list_display = ["id", "status", "customer_id", "customer_email", "amount", "channel", "created_at"]
    list_filter = ["status", TimedOut, Placed, Currency]
    search_fields = ["=customer_id", "=customer_email"]
    uuid_search_fields = ["id"]
    search_help_text = "A whole order id, e-mail address or customer id"
    inlines = [ItemInline, AdjustmentInline]
    fieldsets = [
        (None, {"fields": ["id", "status", "amount", "channel", "correlation_id", "created_at", "updated_at"]}),
        ("Cancellation", {"fields": ["cancel_reason", "timed_out_at"]}),
        ("Customer", {"fields": ["customer_id", "customer_email", "address"]}),
        ("History", {"fields": ["history"]}),
    ]
    readonly_fields = ["amount", "address", "history"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Order], search_term: str
    ) -> tuple[QuerySet[Order], bool]:
        # In one piece: a customer's id may have spaces in it.
        term = search_term.strip()
        if not term:
            return queryset, False
        found = queryset.filter(customer_id=term) | queryset.filter(customer_email__iexact=term)
        return found | self.having_uuid(queryset, term), False

    @admin.display(description="total", ordering="total_amount")
    def amount(self, order: Order) -> str:
        return f"{in_currency(order.total_amount, order.currency)} {order.currency}"

    @admin.display(description="shipping address")
    def address(self, order: Order) -> SafeString:
        parts = ("street", "postalCode", "city", "state", "country")
        return format_html_join("", "{}<br>", ((order.shipping_address[part],) for part in parts))

    @admin.display(description="events")
    def history(self, order: Order) -> SafeString:
        rows = format_html_join(
            "",
            '<tr><td>{}</td><td><a href="{}">{}</a></td><td>{}</td><td>{}</td></tr>',
            (
                (
                    event["sequence"],
                    reverse("admin:eventbus_archivedevent_change", args=[event["eventId"]]),
                    f"{event['eventType']} {event['version']}",
                    event["occurredAt"],
                    event["metadata"].get("causationId", ""),
                )
                for event in events_of(order.pk)
            ),
        )
        head = "<thead><tr><th>#</th><th>event</th><th>when</th><th>caused by</th></tr></thead>"
        return format_html("<table>{}<tbody>{}</tbody></table>", SafeString(head), rows)
