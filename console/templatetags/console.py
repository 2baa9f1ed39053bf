"""How pages write times, ids, states, numbers and small curves."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django import template
from django.template.defaultfilters import pluralize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from console import formats

register = template.Library()

#: The colour of each state, wherever it comes from.
_KINDS = {
    "good": ("confirmed", "shipped", "sent", "done", "dispatched", "replayed", "ok", "resolved"),
    "info": ("created", "sending", "under way", "outbox", "prepared", "ready to go", "running", "replaying"),
    "warn": ("retrying", "behind", "unknown", "in doubt", "pending", "paused", "regressed"),
    "bad": ("rejected", "dead", "failed", "refused", "firing", "open", "stopped"),
}
_KIND_OF = {state: kind for kind, states in _KINDS.items() for state in states}


@register.filter
def moment(value: datetime | None) -> SafeString | str:
    """A moment: the exact one in UTC; the page's script makes it relative or local, as chosen."""
    if value is None:
        return formats.NOTHING
    exact = value.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{} UTC</time>',
        exact.isoformat(timespec="milliseconds"),
        f"{exact:%Y-%m-%d %H:%M:%S}.{exact.microsecond // 1000:03}",
        f"{exact:%d %b %H:%M:%S}" if exact.date() != datetime.now(UTC).date() else f"{exact:%H:%M:%S}",
    )


@register.filter
def short(value: object) -> str:
    """An id in few characters."""
    return formats.short_id(value)


@register.simple_tag
def ident(value: object, address: str = "") -> SafeString:
    """An id: short, the whole under the pointer, to copy, and a link where it leads somewhere."""
    shown = format_html('<code title="{}">{}</code>', value, formats.short_id(value))
    if address:
        shown = format_html('<a href="{}">{}</a>', address, shown)
    return format_html(
        '<span class="ident">{}<button type="button" class="copy" data-copy="{}" aria-label="Copy {}" hidden></button>'
        "</span>",
        shown,
        value,
        value,
    )


@register.filter
def chip(state: object, label: str = "") -> SafeString:
    """A state as a coloured word."""
    kind = _KIND_OF.get(str(state).lower(), "plain")
    return format_html('<span class="chip chip-{}">{}</span>', kind, label or str(state).lower())


register.filter("number", formats.number)
register.filter("compact", formats.compact)
register.filter("duration", formats.duration)


@register.simple_tag
def money(amount: Decimal, currency: str) -> str:
    return formats.money(amount, currency)


@register.filter
def since(value: datetime | None, now: datetime) -> str:
    """How long ago."""
    return formats.duration(now - value) if value else "never"


@register.filter
def plural(number: Any, noun: str) -> str:
    """A number and its noun: 1 letter, 2 letters."""
    return f"{formats.number(number)} {noun}{pluralize(number)}"


@register.simple_tag
def spark(values: Sequence[float | None], label: str, kind: str = "") -> SafeString:
    """A curve as wide as its place: where nothing was measured it is interrupted."""
    highest = max([value for value in values if value is not None], default=0)
    if not highest:
        kind, highest = "spark-none", 1
    step = 100 / max(len(values) - 1, 1)
    lines: list[list[str]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            lines.append([])
        else:
            lines[-1].append(f"{place * step:.2f},{29 - value / highest * 27:.2f}")
    # What stands alone is a dot: a line from a place to itself, with round ends.
    drawn = format_html_join(
        "", '<polyline points="{}"/>', ((" ".join(line * 2 if len(line) == 1 else line),) for line in lines if line)
    )
    return format_html(
        '<svg class="spark {}" viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label="{}">'
        "<title>{}</title>{}</svg>",
        kind,
        label,
        label,
        drawn,
    )


@register.simple_tag(takes_context=True)
def query(context: Any, **changes: object) -> str:
    """This page's query with some of it changed; what is None or "" falls out."""
    params = context["request"].GET.copy()
    for name, value in changes.items():
        if value in (None, ""):
            params.pop(name, None)
        else:
            params[name] = str(value)
    return f"?{params.urlencode()}" if params else "?"


@register.filter
def by(event: Any, told: Any) -> str:
    """Who acted."""
    return str(told.by_whom(event))


@register.filter
def ms(value: float | None) -> str:
    """Milliseconds for people."""
    return "" if value is None else formats.duration(value / 1000)


@register.filter
def pretty(data: str) -> str:
    """JSON with indents; amounts keep the digits that they were written with."""
    mark = uuid4().hex
    parsed = json.loads(data, parse_float=lambda digits: f"{mark}{digits}{mark}")
    return re.sub(f'"{mark}(.*?){mark}"', r"\1", json.dumps(parsed, indent=2, ensure_ascii=False))


@register.filter
def last_name(dotted: str) -> str:
    """A class without its module."""
    return dotted.rsplit(".", 1)[-1]


@register.filter
def prose(text: str) -> SafeString:
    """A sentence of a document, with what it has in backticks as code."""
    parts = (format_html("<code>{}</code>" if place % 2 else "{}", part) for place, part in enumerate(text.split("`")))
    return SafeString("".join(parts))
