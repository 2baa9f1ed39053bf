"""The pipeline alive, and one consumer of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse

from console import access
from console.pages import page, show_live, show_shared
from eventbus.pipeline import WINDOWS, ConsumerNow, consumer_in_full, pipeline_now


def _window(request: HttpRequest) -> str:
    chosen = request.GET.get("window", "")
    return chosen if chosen in WINDOWS else "1h"


@page(access.VIEW_PIPELINE)
def pipeline(request: HttpRequest) -> HttpResponse:
    """Everything from intake to the dead letters."""
    window = _window(request)

    def read() -> dict[str, Any]:
        now = pipeline_now(window)
        return {"now": now, "groups": grouped(now.consumers), "window": window, "windows": list(WINDOWS)}

    return show_shared(request, "pipeline", "pipeline", window, read)


@dataclass(frozen=True, slots=True)
class Group:
    """The consumers of one worker process, the worst first."""

    name: str
    consumers: Sequence[ConsumerNow]

    @property
    def trouble(self) -> int:
        return max(each.trouble for each in self.consumers)


def grouped(consumers: Iterable[ConsumerNow]) -> list[Group]:
    """By worker process, as the orders meet them; what is gone from the code comes last."""
    found: dict[str, list[ConsumerNow]] = {}
    for each in consumers:
        found.setdefault(each.declared.group if each.declared else "gone", []).append(each)
    return [
        Group(name, sorted(members, key=lambda each: (-each.trouble, each.name)))
        for name, members in sorted(found.items(), key=lambda item: (item[0] == "gone", item[0]))
    ]


@page(access.VIEW_PIPELINE)
def consumer(request: HttpRequest, name: str) -> HttpResponse:
    """One consumer: what it is for, how it does, and what waits for it."""
    window = _window(request)
    found = consumer_in_full(name, window) if name.isprintable() else None
    if found is None:
        raise Http404(f"No consumer is or was called {name}.")
    letters = "eventbus.view_deadlettergroup"
    may: dict[str, Any] = {
        "hurry": request.user.has_perm(access.HURRY),
        "letters": request.user.has_perm(letters),
    }
    return show_live(request, "consumer", "consumer", found=found, window=window, windows=list(WINDOWS), may=may)
