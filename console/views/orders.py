"""Orders: the list, one of them, and what staff do with it."""

import csv
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.validators import RegexValidator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect

import notifications.services
import orders.queries
import orders.services
import shipping.services
from console import access, activity
from console.pages import page, show, show_live
from console.telling import moments, told_of_order
from console.views.trace import context_of
from eventbus import acting_as
from orders.events import CancelledBy
from orders.queries import Cursor

printable = RegexValidator(r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$", "No line breaks or other control characters.")

#: Rows of a page of the list.
SHOWN = 50
#: Orders in a file at most.
EXPORTED = 10_000
STATUSES = ("CREATED", "CONFIRMED", "REJECTED", "CANCELLED", "SHIPPED")


class OrderFilter(forms.Form):
    """What of the list is wanted. It lives in the address."""

    status = forms.ChoiceField(choices=[("", "any"), *((each, each.lower()) for each in STATUSES)], required=False)
    customer = forms.CharField(max_length=254, required=False)
    since = forms.DateTimeField(required=False)
    until = forms.DateTimeField(required=False)
    cursor = forms.CharField(required=False, max_length=64)

    def clean_cursor(self) -> Cursor | None:
        try:
            return Cursor.parse(text) if (text := self.cleaned_data["cursor"]) else None
        except ValueError:
            raise forms.ValidationError("That is no page of ours.") from None

    def arguments(self) -> dict[str, Any]:
        """The filter as `page_of` takes it."""
        chosen = self.cleaned_data
        customer = chosen["customer"].strip()
        who = {"customer_email" if "@" in customer else "customer_id": customer or None}
        return {
            "status": chosen["status"] or None,
            "created_from": chosen["since"],
            "created_to": chosen["until"],
            **who,
        }


@page(access.VIEW_ORDERS)
def order_list(request: HttpRequest) -> HttpResponse:
    """Orders, newest first; as a file with `?format=csv`."""
    form = OrderFilter(request.GET)
    if not form.is_valid():
        return show(request, "orders", form=form, page=None, statuses=STATUSES)
    everyones = orders.queries.orders_of(None)
    if request.GET.get("format") == "csv":
        return _as_csv(orders.queries.page_of(everyones, limit=EXPORTED, **form.arguments()).results)
    found = orders.queries.page_of(
        everyones, limit=SHOWN, cursor=form.cleaned_data["cursor"] or None, **form.arguments()
    )
    return show(request, "orders", form=form, page=found, statuses=STATUSES, chosen=form.cleaned_data)


def _as_csv(found: list[dict[str, Any]]) -> HttpResponse:
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="orders.csv"'
    writer = csv.writer(response)
    columns = ("orderId", "status", "customerId", "customerEmail", "totalAmount", "currency", "createdAt", "updatedAt")
    writer.writerow(columns)
    writer.writerows([harmless(order[column]) for column in columns] for order in found)
    return response


def harmless(value: object) -> str:
    """Text that no spreadsheet takes for a formula: a quote before what begins like one."""
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


@page(access.VIEW_ORDERS)
def order(request: HttpRequest, order_id: UUID) -> HttpResponse:
    """One order: where it is, what happened, what is wrong, and what can be done."""
    told = told_of_order(order_id)
    if told is None:
        raise Http404(f"There is no order {order_id}.")
    found, context = told.order or {}, context_of(request, told)
    return show_live(
        request,
        "order",
        "order",
        order=found,
        channel=told.names.get(str(found["channelId"]), "?"),
        moments=moments(told),
        steps=steps(found),
        **context,
    )


def steps(found: dict[str, Any]) -> list[tuple[str, str]]:
    """An order's way as steps: each with its name, and whether it is done, here, ahead, or where the way ended."""
    status = found["status"]
    if status in ("REJECTED", "CANCELLED"):
        return [("Placed", "done"), (status.capitalize(), "ended")]
    way = ["CREATED", "CONFIRMED", "SHIPPED"]
    here = way.index(status)
    names = ("Placed", "Confirmed", "Shipped")
    return [
        (name, "here" if place == here else "done" if place < here else "ahead") for place, name in enumerate(names)
    ]


class CancelForm(forms.Form):
    reason = forms.CharField(max_length=200, validators=[printable])


class DispatchForm(forms.Form):
    carrier = forms.CharField(max_length=100, validators=[printable])
    tracking_number = forms.CharField(max_length=100, validators=[printable])
    estimated_delivery = forms.DateField()


@page(access.VIEW_ORDERS, access.CANCEL_ORDERS, methods=("POST",))
def cancel(request: HttpRequest, order_id: UUID) -> HttpResponse:
    """Call an order off."""
    form = CancelForm(request.POST)

    def act() -> str:
        reason = form.cleaned_data["reason"]
        orders.services.cancel_order(order_id=order_id, reason=reason, by=CancelledBy.STAFF)
        activity.note(request, "orders.order", order_id, f"Cancelled: {reason}")
        return "The order is cancelled."

    return _act(request, order_id, form, act)


@page(access.VIEW_ORDERS, access.DISPATCH, methods=("POST",))
def dispatch(request: HttpRequest, order_id: UUID) -> HttpResponse:
    """Send an order's parcel off."""
    form = DispatchForm(request.POST)

    def act() -> str:
        shipping.services.dispatch(order_id=order_id, **form.cleaned_data)
        activity.note(request, "shipping.shipment", order_id, "Dispatched.")
        return "The parcel is on its way."

    return _act(request, order_id, form, act)


@page(access.VIEW_ORDERS, access.RESEND_MAILS, methods=("POST",))
def resend(request: HttpRequest, order_id: UUID, mail_id: UUID) -> HttpResponse:
    """Send a mail again that is in doubt or was refused."""

    def act() -> str:
        if not notifications.services.resend_mail(mail_id):
            return "That mail is neither in doubt nor refused any more: it was left alone."
        activity.note(request, "notifications.mail", mail_id, "Sent again.")
        return "The mail is queued again."

    return _act(request, order_id, forms.Form(request.POST), act)


REFUSALS = (
    orders.services.CannotMove,
    shipping.services.CannotDispatch,
    shipping.services.ImplausibleDelivery,
    shipping.services.NoShipment,
)


def _act(request: HttpRequest, order_id: UUID, form: forms.Form, act: Callable[[], str]) -> HttpResponseRedirect:
    """Do it in this person's name and say on the order's page what came of it."""
    if not form.is_valid():
        for name, errors in form.errors.items():
            messages.error(request, f"{name.replace('_', ' ').capitalize()}: {' '.join(map(str, errors))}")
        return redirect("console:order", order_id)
    try:
        with acting_as(request.user.pk):
            messages.success(request, act())
    except REFUSALS as error:
        messages.error(request, str(error))
    return redirect("console:order", order_id)
