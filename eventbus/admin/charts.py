"""Small pictures of numbers, as SVG in the page: no script, no library."""

from collections.abc import Sequence

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString


def bars(values: Sequence[tuple[str, int]], *, width: int, height: int) -> SafeString:
    """A bar per value; its label and number appear under the pointer. An empty place keeps a thin line."""
    highest = max([number for _, number in values], default=0) or 1
    step = width / max(len(values), 1)
    drawn = []
    for place, (label, number) in enumerate(values):
        tall = max(2.0 if number else 1.0, number / highest * height)
        kind = "dl-bar" if number else "dl-bar-empty"
        drawn.append(
            (kind, f"{place * step:.1f}", f"{height - tall:.1f}", f"{step * 0.8:.1f}", f"{tall:.1f}", label, number)
        )
    return format_html(
        '<svg class="dl-bars" width="{}" height="{}" role="img" aria-label="{} at most">{}</svg>',
        width,
        height,
        highest,
        format_html_join(
            "",
            '<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}: {}</title></rect>',
            drawn,
        ),
    )


def progress(good: int, bad: int, total: int) -> SafeString:
    """How much of the whole went well and how much failed."""
    whole = max(total, 1)
    return format_html(
        '<span class="dl-progress"><span class="dl-good" style="width: {}%"></span>'
        '<span class="dl-bad" style="width: {}%"></span></span> {} of {}{}',
        f"{good / whole * 100:.1f}",
        f"{bad / whole * 100:.1f}",
        good + bad,
        total,
        f", {bad} failed again" if bad else "",
    )
