"""The read models as pages with charts. Nothing here is changed by hand: events make it."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from django.contrib import admin
from django.forms import Media
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from analytics import queries
from analytics.charts import Series, chart
from analytics.days import zone
from analytics.models import KINDS, CustomerOrder, Fulfilment, SalesByDay, SalesByProduct
from analytics.queries import PERCENTS, STAGES, Range
from eventbus.admin import ReadOnlyAdmin

PERIODS = (7, 30, 90, 365)
PRODUCTS_SHOWN = 20
#: How the parts of an order's way are called on the page.
STAGE_NAMES = {
    "createdToConfirmed": "created → confirmed",
    "confirmedToShipped": "confirmed → shipped",
    "createdToShipped": "created → shipped",
}


class PageAdmin(ReadOnlyAdmin):
    """A page of figures over a period, in the place of the list of rows."""

    page: str
    media = Media(css={"all": ["analytics/analytics.css"]})

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The page, for those who may see the rows."""
        if not self.has_view_permission(request):
            return super().changelist_view(request, extra_context)
        days = chosen(request, "days", PERIODS, default=30)
        context = {
            **self.admin_site.each_context(request),
            "title": str(self.opts.verbose_name_plural).capitalize(),
            "opts": self.opts,
            "media": self.media,
            "periods": PERIODS,
            "days": days,
            "zone": zone(),
            **self.figures(request, Range.of_days(days)),
        }
        return TemplateResponse(request, f"analytics/{self.page}.html", context)

    def figures(self, request: HttpRequest, asked: Range) -> dict[str, Any]:
        """What the page shows of these days."""
        raise NotImplementedError


def chosen(request: HttpRequest, name: str, known: Sequence[Any], default: Any) -> Any:
    """The one of the known values that the query names; the default for anything else."""
    return next((value for value in known if str(value) == request.GET.get(name)), default)


def currency_of(request: HttpRequest, asked: Range) -> dict[str, Any]:
    """The currencies of these days, and the one that is looked at."""
    known = queries.currencies(asked)
    return {"currencies": known, "currency": chosen(request, "currency", known, known[0] if known else None)}


def dates(days: Sequence[date]) -> list[str]:
    return [f"{day.day} {day:%b}" for day in days]


@admin.register(SalesByDay)
class SalesByDayAdmin(PageAdmin):
    """What happened to orders, day by day."""

    page = "sales_by_day"

    def figures(self, request: HttpRequest, asked: Range) -> dict[str, Any]:
        money = currency_of(request, asked)
        rows = {row["day"]: row for row in queries.sales_by_day(asked, money["currency"])} if money["currency"] else {}
        amounts = {
            kind: [float(rows[day][kind]["amount"]) if day in rows else 0.0 for day in asked.days] for kind in KINDS
        }
        bars = [Series(kind, amounts[kind], kind) for kind in ("confirmed", "shipped")]
        totals = {
            kind: {what: sum(row[kind][what] for row in rows.values()) for what in queries.OF_A_DAY} for kind in KINDS
        }
        return money | {
            "rows": [rows[day] for day in reversed(asked.days) if day in rows],
            "kinds": KINDS,
            "totals": totals,
            "chart": chart(dates(asked.days), bars=bars, unit=money["currency"] or ""),
            "drawn": bars,
        }


@admin.register(SalesByProduct)
class SalesByProductAdmin(PageAdmin):
    """What was sold most."""

    page = "sales_by_product"

    def figures(self, request: HttpRequest, asked: Range) -> dict[str, Any]:
        money = currency_of(request, asked)
        products = queries.top_products(asked, money["currency"], limit=PRODUCTS_SHOWN) if money["currency"] else []
        most = max((product["confirmed"]["amount"] for product in products), default=0) or 1
        for product in products:
            product["percent"] = f"{product['confirmed']['amount'] / most * 100:.1f}"
        return money | {"products": products, "kinds": KINDS}


@admin.register(Fulfilment)
class FulfilmentAdmin(PageAdmin):
    """How long orders take."""

    page = "fulfilment"

    def figures(self, request: HttpRequest, asked: Range) -> dict[str, Any]:
        stage = chosen(request, "stage", list(STAGES), default="createdToConfirmed")
        by_day = queries.fulfilment_by_day(asked)
        lines = [
            Series(f"p{percent}", [by_day[day][stage][f"p{percent}"] if day in by_day else None for day in asked.days],
                   f"p{percent}")
            for percent in PERCENTS
        ]  # fmt: skip
        whole = queries.fulfilment(asked)
        return {
            "stages": STAGE_NAMES,
            "stage": stage,
            "orders": whole["orders"],
            "percents": [f"p{percent}" for percent in PERCENTS],
            "table": [(STAGE_NAMES[name], whole[name]) for name in STAGES],
            "chart": chart(dates(asked.days), lines=lines, unit="seconds"),
            "drawn": lines,
        }


@admin.register(CustomerOrder)
class CustomerOrderAdmin(ReadOnlyAdmin):
    """A customer's orders: search for the customer's whole id."""

    list_display = ["order_id", "customer_id", "status", "status_at", "created_at", "pieces", "total", "currency"]
    search_fields = ["customer_id__exact"]
    uuid_search_fields = ["order_id"]
    search_help_text = "A whole customer id or order id"

    @admin.display(description="total", ordering="total_amount")
    def total(self, row: CustomerOrder) -> str:
        return f"{row.total_amount:,}"
