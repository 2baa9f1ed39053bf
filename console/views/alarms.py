"""The alarms: what fires, what to do, and when each has fired in two weeks."""

from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from console import access
from console.pages import page, show_live
from eventbus.pipeline import LOOK_BACK, AlarmNow, alarms_now, consumer_names

#: Per cent of the strip.
NARROWEST = 1.2


@dataclass(frozen=True, slots=True)
class Shown:
    """An alarm with the place that it speaks of, and its stretches in per cent of the strip."""

    alarm: AlarmNow
    address: str
    strip: list[tuple[float, float]]


@page(access.VIEW_ALARMS)
def alarms(request: HttpRequest) -> HttpResponse:
    """All of them, what fires first."""
    now, found = alarms_now()
    consumers = set(consumer_names())
    shown = [Shown(each, _place(each, consumers), _strip(each, now)) for each in found]
    firing = [each for each in shown if each.alarm.row.state == "firing"]
    return show_live(request, "alarms", "alarms", firing=firing, alarms=shown, days=LOOK_BACK.days)


def _place(alarm: AlarmNow, consumers: set[str]) -> str:
    if alarm.row.name == "dead_letters" and alarm.row.subject:
        return f"{reverse('console:letters')}?consumer={alarm.row.subject}"
    return reverse("console:consumer", args=[alarm.row.subject]) if alarm.row.subject in consumers else ""


def _strip(alarm: AlarmNow, now: datetime) -> list[tuple[float, float]]:
    """Where each stretch begins and how wide it is; none so narrow that nobody would see it."""
    begin, whole = now - LOOK_BACK, LOOK_BACK.total_seconds()
    found = []
    for since, until in alarm.fired:
        x = min(99 - NARROWEST, max(0.0, (since - begin).total_seconds() / whole * 100))
        found.append((round(x, 2), round(max(NARROWEST, (until - since).total_seconds() / whole * 100), 2)))
    return found
