"""The navigation: what this person may see, with what wants attention."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.http import HttpRequest
from django.urls import reverse

from console import access
from eventbus.pipeline import FIRING_ALARMS, OPEN_DEAD_LETTERS
from shipping.queries import COUNTED, READY

_COUNTS = f"SELECT {READY}, {OPEN_DEAD_LETTERS}, {FIRING_ALARMS}"


@dataclass(frozen=True, slots=True)
class Item:
    """A link of the navigation. `key` follows `g` on the keyboard; `alarming`: a number there is bad news."""

    label: str
    to: str
    permission: str
    key: str = ""
    count: str = ""
    alarming: bool = False


#: What stands where. Pages that are still Django admin's are named by its addresses.
GROUPS: Mapping[str, Sequence[Item]] = {
    "Shop": (
        Item("Home", "console:home", "", "h"),
        Item("Orders", "console:orders", access.VIEW_ORDERS, "o"),
        Item("Dispatch", "console:dispatch", access.VIEW_PARCELS, "d", "ready"),
        Item("Stock", "console:stock", access.VIEW_STOCK, "s"),
        Item("Mails", "admin:notifications_mail_changelist", access.VIEW_MAILS),
    ),
    "Pipeline": (
        Item("Pipeline", "console:pipeline", access.VIEW_PIPELINE, "p"),
        Item("Dead letters", "console:letters", access.VIEW_LETTERS, "l", "dead",
             alarming=True),
        Item("Waiting retries", "admin:eventbus_waitingretry_changelist", "eventbus.view_waitingretry"),
        Item("Alarms", "console:alarms", access.VIEW_ALARMS, "a", "firing", alarming=True),
        Item("Events", "console:events", access.VIEW_PIPELINE, "e"),
    ),
    "Contracts": (
        Item("Events", "console:catalogue", "", "c"),
        Item("REST API", "console:rest", ""),
    ),
    "Admin": (
        Item("Activity", "console:activity", access.VIEW_ACTIVITY),
        Item("All tables", "admin:index", ""),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Link:
    """An item as it is shown."""

    label: str
    address: str
    key: str
    count: str
    alarming: bool
    is_here: bool


def navigation(request: HttpRequest) -> dict[str, Any]:
    """For templates: the links by group. Nothing for who is not of the staff."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated or not user.is_staff:
        return {}
    numbers = counts()
    allowed = {
        name: [(item, reverse(item.to)) for item in items if not item.permission or user.has_perm(item.permission)]
        for name, items in GROUPS.items()
    }
    here = _here(request.path, [address for links in allowed.values() for _, address in links])
    groups = {name: [_link(item, address, here, numbers) for item, address in links] for name, links in allowed.items()}
    return {"navigation": {name: links for name, links in groups.items() if links}}


def counts() -> dict[str, int]:
    """What waits for somebody, each counted up to a limit."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS)
        ready, dead, firing = cursor.fetchone() or (0, 0, 0)
    return {"ready": ready, "dead": dead, "firing": firing}


def _here(path: str, addresses: Sequence[str]) -> str:
    """The link that a page belongs to: the one that its address begins with most of. The first page is its own."""
    around = [address for address in addresses if path == address or (address != "/" and path.startswith(address))]
    return max(around, key=len, default="")


def _link(item: Item, address: str, here: str, numbers: Mapping[str, int]) -> Link:
    number = numbers.get(item.count, 0)
    shown = f"{COUNTED - 1}+" if number >= COUNTED else str(number) if number else ""
    return Link(item.label, address, item.key, shown, item.alarming, address == here)
