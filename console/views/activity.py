"""Who did what, when and why: what people did here and in Django admin."""

from typing import Any

from django import forms
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse

from console import access
from console.pages import page, show

SHOWN = 50


class ActivityFilter(forms.Form):
    """Whose actions, with what in them, and before which one."""

    who = forms.CharField(max_length=150, required=False)
    text = forms.CharField(max_length=200, required=False)
    before = forms.IntegerField(min_value=1, max_value=2**31 - 1, required=False)


@page(access.VIEW_ACTIVITY)
def activity(request: HttpRequest) -> HttpResponse:
    """The newest actions first."""
    form = ActivityFilter(request.GET)
    found = LogEntry.objects.select_related("user", "content_type").order_by("-pk")
    if form.is_valid():
        chosen = form.cleaned_data
        if chosen["who"]:
            found = found.filter(user__username__iexact=chosen["who"])
        if chosen["text"]:
            found = found.filter(change_message__icontains=chosen["text"])
        if chosen["before"]:
            found = found.filter(pk__lt=chosen["before"])
    rows = list(found[: SHOWN + 1]) if form.is_valid() else []
    return show(
        request,
        "activity",
        form=form,
        entries=[(entry, _address(entry)) for entry in rows[:SHOWN]],
        older=rows[SHOWN - 1].pk if len(rows) > SHOWN else None,
    )


#: Where what was acted on is looked at.
_PAGES = {("orders", "order"): "console:order", ("shipping", "shipment"): "console:order"}


def _address(entry: Any) -> str:
    kind = (entry.content_type.app_label, entry.content_type.model) if entry.content_type else ("", "")
    try:
        if kind in _PAGES:
            return reverse(_PAGES[kind], args=[entry.object_id])
        return entry.get_admin_url() or ""
    except NoReverseMatch:
        return ""
