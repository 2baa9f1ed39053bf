"""The dispatch bench: parcels that are ready to go, a tracking number each, made for a scanner."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

import shipping.queries
import shipping.services
from console import access, activity
from console.formats import short_id
from console.pages import page, show
from console.views.orders import printable
from eventbus import acting_as, database_time

#: Parcels on the bench at once.
SHOWN = 50
#: Days until a parcel arrives, as proposed.
USUAL = timedelta(days=3)


class BenchForm(forms.Form):
    """How these parcels travel. A row without a number stays on the bench."""

    carrier = forms.CharField(max_length=100, validators=[printable])
    estimated_delivery = forms.DateField()

    def __init__(self, order_ids: list[UUID], data: Any = None, **options: Any) -> None:
        super().__init__(data, **options)
        self.order_ids = order_ids
        for order_id in order_ids:
            self.fields[f"n-{order_id}"] = forms.CharField(max_length=100, validators=[printable], required=False)

    def clean(self) -> dict[str, Any]:
        """One number names one parcel; a parcel that leaves now arrives today or later."""
        said = super().clean() or {}
        numbers = [number for order_id in self.order_ids if (number := said.get(f"n-{order_id}"))]
        for order_id in self.order_ids:
            if numbers.count(said.get(f"n-{order_id}") or "") > 1:
                self.add_error(f"n-{order_id}", "Another parcel on this page has this number.")
        if (day := said.get("estimated_delivery")) is not None:
            try:
                shipping.services.check_delivery(day)
            except shipping.services.ImplausibleDelivery as error:
                self.add_error("estimated_delivery", str(error))
        return said

    def chosen(self) -> dict[UUID, str]:
        """The number of each parcel that has one."""
        return {each: number for each in self.order_ids if (number := self.cleaned_data.get(f"n-{each}"))}


@page(access.VIEW_PARCELS, methods=("GET", "HEAD", "POST"))
def bench(request: HttpRequest) -> HttpResponse:
    """Show what is ready, and send off what has a number."""
    if request.method == "POST":
        access.demand(request, access.DISPATCH)
    parcels = shipping.queries.ready(limit=SHOWN)
    ids = [parcel["orderId"] for parcel in parcels]
    initial = {"carrier": request.COOKIES.get("carrier", "")[:100], "estimated_delivery": _usual_day()}
    form = BenchForm(ids, request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        if not form.chosen():
            messages.warning(request, "No parcel has a tracking number: nothing was dispatched.")
        _dispatch(request, form)
        return redirect("console:dispatch")
    rows = [(parcel, form[f"n-{parcel['orderId']}"]) for parcel in parcels]
    may = request.user.has_perm(access.DISPATCH)
    return show(request, "dispatch", form=form, rows=rows, may_dispatch=may, shown=SHOWN)


def _usual_day() -> date:
    return (database_time() + USUAL).date()


def _dispatch(request: HttpRequest, form: BenchForm) -> None:
    """Each parcel by itself: what is refused does not keep the others."""
    how = {name: form.cleaned_data[name] for name in ("carrier", "estimated_delivery")}
    gone = 0
    for order_id, number in form.chosen().items():
        try:
            with acting_as(request.user.pk):
                shipping.services.dispatch(order_id=order_id, tracking_number=number, **how)
        except (shipping.services.CannotDispatch, shipping.services.NoShipment) as error:
            messages.error(request, f"Order {short_id(order_id)} stays: {error}")
            continue
        activity.note(request, "shipping.shipment", order_id, "Dispatched.")
        gone += 1
    if gone:
        messages.success(request, f"Dispatched: {gone} parcel{'' if gone == 1 else 's'}.")
