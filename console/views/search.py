"""One field that finds everything: orders, customers, products, events, stories, parcels and consumers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.admin.utils import quote
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

import inventory.queries
import orders.queries
import shipping.queries
from console import access
from console.formats import money, short_id
from console.pages import page, show
from eventbus.pipeline import consumer_names
from eventbus.traces import event_key, story_of_correlation

#: Of each kind at most.
SHOWN = 20
LONGEST = 254


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that was found. `about` is said beside it."""

    kind: str
    label: str
    about: str
    address: str
    state: str = ""
    at: Any = None


@page()
def search(request: HttpRequest) -> HttpResponse:
    """Where the one thing is that was asked for, or all that it may be."""
    text = request.GET.get("q", "").strip()
    if not text or len(text) > LONGEST or not text.isprintable():
        return show(request, "search", text=text[:LONGEST], hits=[], asked=bool(text))
    hits = [hit for permission, look in _LOOKING if request.user.has_perm(permission) for hit in look(text)]
    # What is found by its very name is what was meant.
    if len({hit.address for hit in hits}) == 1:
        return redirect(hits[0].address)
    return show(request, "search", text=text, hits=hits, asked=True, shown=SHOWN)


def _orders(text: str) -> Sequence[Hit]:
    return [
        Hit(
            "order",
            short_id(found["orderId"]),
            f"customer {found['customerId']} · {money(found['totalAmount'], found['currency'])}",
            reverse("console:order", args=[found["orderId"]]),
            found["status"],
            found["createdAt"],
        )
        for found in orders.queries.find(text, limit=SHOWN)
    ]


def _parcels(text: str) -> Sequence[Hit]:
    return [
        Hit(
            "parcel",
            found["trackingNumber"],
            f"{found['carrier']} · order {short_id(found['orderId'])}",
            reverse("console:order", args=[found["orderId"]]),
            found["status"],
            found["dispatchedAt"],
        )
        for found in shipping.queries.with_tracking_number(text, limit=SHOWN)
    ]


def _products(text: str) -> Sequence[Hit]:
    return [
        Hit(
            "product",
            found["product_id"],
            f"{found['product_name']} · {found['available']:,} available, {found['reserved']:,} set aside",
            reverse("admin:inventory_stock_change", args=[quote(found["product_id"])]),
        )
        for found in inventory.queries.find(text, limit=SHOWN)
    ]


def _events(text: str) -> Sequence[Hit]:
    try:
        key = event_key(UUID(text))
    except ValueError:
        key = None
    if key is None:
        return []
    about = f"{key.aggregate_type} {short_id(key.aggregate_id)}"
    return [Hit("event", key.event_type, about, reverse("console:trace", args=[text]))]


def _stories(text: str) -> Sequence[Hit]:
    events = story_of_correlation(text).events
    if not events:
        return []
    about = f"correlation id · {len(events)} events"
    address = reverse("console:trace", args=[text])
    return [Hit("story", short_id(text), about, address, at=events[0].at)]


def _consumers(text: str) -> Sequence[Hit]:
    return [
        Hit("consumer", name, "consumer", reverse("console:consumer", args=[name]))
        for name in consumer_names()
        if text.lower() in name
    ]


_LOOKING: Sequence[tuple[str, Callable[[str], Sequence[Hit]]]] = (
    (access.VIEW_ORDERS, _orders),
    (access.VIEW_PARCELS, _parcels),
    (access.VIEW_STOCK, _products),
    (access.VIEW_PIPELINE, _events),
    (access.VIEW_PIPELINE, _stories),
    (access.VIEW_PIPELINE, _consumers),
)
