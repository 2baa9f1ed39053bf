"""Pages of the stock admin beside Django's own: the count, and the ledger."""

import re
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote
from django.core.validators import RegexValidator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from eventbus import StreamConflict, acting_as
from eventbus.admin import ReadOnlyAdmin
from inventory import past, queries, services
from inventory.events import PRINTABLE

PAGE = 50


class CountForm(forms.Form):
    """`sequence` is where the product's stream was when the form was opened: the shelf of that time is counted."""

    counted = forms.IntegerField(min_value=0, max_value=2**53 - 1, help_text="All on the shelf, set aside or not.")
    reason = forms.CharField(max_length=200, validators=[RegexValidator(PRINTABLE, "No control characters.")])
    sequence = forms.IntegerField(min_value=0, widget=forms.HiddenInput)


class LedgerForm(forms.Form):
    """What part of the ledger: up to a moment (UTC), and before an entry."""

    as_of = forms.DateTimeField(required=False, label="As of (UTC)")
    before = forms.IntegerField(required=False, min_value=1, max_value=past.LAST_SEQUENCE, widget=forms.HiddenInput)


def count(stock_admin: ReadOnlyAdmin, request: HttpRequest) -> HttpResponse:
    """Show the form, or make the books say what was counted."""
    product_id = request.GET.get("product_id", "")
    stock, sequence = _stock(product_id)
    form = CountForm(request.POST or None, initial={"sequence": sequence})
    if request.method == "POST" and form.is_valid() and _count(stock_admin, request, product_id, form):
        return redirect("admin:inventory_stock_change", quote(product_id))
    context = {"title": f"Count {stock['product_name']}", "form": form, "stock": stock, "product_id": product_id}
    return _page(stock_admin, request, "count", context)


def _count(stock_admin: ReadOnlyAdmin, request: HttpRequest, product_id: str, form: CountForm) -> bool:
    counted, reason = form.cleaned_data["counted"], form.cleaned_data["reason"]
    try:
        with acting_as(request.user.pk):
            stock = services.correct_stock(
                product_id=product_id, counted=counted, reason=reason, expected=form.cleaned_data["sequence"]
            )
    except services.BelowReserved as error:
        form.add_error("counted", str(error))
        return False
    except StreamConflict:
        form.add_error(None, "The stock has moved meanwhile. Open the form anew and count again.")
        return False
    stock_admin.log_change(request, stock, f"Counted {counted}: {reason}")
    messages.success(request, f"The books say {counted} of {stock} now.")
    return True


def ledger(stock_admin: ReadOnlyAdmin, request: HttpRequest) -> HttpResponse:
    """A page of what changed a product's stock, newest first, each entry with what it left."""
    product_id = request.GET.get("product_id", "")
    stock, _ = _stock(product_id)
    form = LedgerForm(request.GET)
    context = {"title": f"Ledger of {stock['product_name']}", "form": form, "product_id": product_id, "entries": []}
    if form.is_valid():
        try:
            context |= _entries(product_id, form.cleaned_data["as_of"], form.cleaned_data["before"])
        except (past.HistoryBegins, past.HistoryBroken) as error:
            messages.error(request, str(error))
    return _page(stock_admin, request, "ledger", context)


def _entries(product_id: str, as_of: datetime | None, before: int | None) -> dict[str, Any]:
    if as_of is not None and before is None:
        found = past.stock_as_of(product_id, min(as_of, datetime.now(UTC)))
        before = found.sequence + 1 if found else 1
    entries = past.ledger(product_id, before=before or past.LAST_SEQUENCE, limit=PAGE + 1)
    return {"entries": entries[:PAGE], "older": entries[PAGE - 1].sequence if len(entries) > PAGE else None}


def _stock(product_id: str) -> tuple[dict[str, Any], int]:
    # What no product can be called is not looked for: PostgreSQL has no text with a NUL in it.
    found = queries.stock_now(product_id) if re.fullmatch(PRINTABLE, product_id) else None
    if found is None:
        raise Http404(f"There is no stock of {product_id}.")
    return found


def _page(stock_admin: ReadOnlyAdmin, request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
    product_id = context["product_id"]
    back = reverse("admin:inventory_stock_change", args=[quote(product_id)])
    context = {**stock_admin.admin_site.each_context(request), "opts": stock_admin.opts, "back": back, **context}
    return TemplateResponse(request, f"admin/inventory/stock/{name}.html", context)
