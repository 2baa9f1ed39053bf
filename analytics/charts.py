"""Charts as SVG in the page: no script, no library. What is drawn also stands in the table below it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 960, 260
LEFT, BOTTOM, TOP = 72, 28, 12
GRID_LINES = 4
DATES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Series:
    """A row of numbers, one per place on the axis; None where there is none. `kind` names its style: see the CSS."""

    name: str
    values: Sequence[float | None]
    kind: str


def chart(labels: Sequence[str], *, bars: Sequence[Series] = (), lines: Sequence[Series] = (), unit: str) -> SafeString:
    """Bars side by side and lines over them, on one scale. Each tells its number under the pointer."""
    values = [value for series in [*bars, *lines] for value in series.values if value is not None]
    highest = rounded_up(max(values, default=0))
    return format_html(
        '<svg class="an-chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}{}</svg>',
        WIDTH,
        HEIGHT,
        f"{', '.join(series.name for series in [*bars, *lines])} in {unit}, {labels[0]} to {labels[-1]}",
        _grid(highest),
        _dates(labels),
        format_html_join("", "{}", ((_bars(labels, bars, place, highest, unit),) for place in range(len(bars)))),
        format_html_join("", "{}", ((_line(labels, series, highest, unit),) for series in lines)),
    )


def rounded_up(value: float) -> float:
    """The end of the scale: the next 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.9999)


def short(value: float) -> str:
    """A number as an axis shows it."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{letter}"
    return f"{value:g}"


def _y(value: float, highest: float) -> float:
    return TOP + (1 - value / highest) * (HEIGHT - TOP - BOTTOM)


def _step(labels: Sequence[str]) -> float:
    return (WIDTH - LEFT) / max(len(labels), 1)


def _grid(highest: float) -> SafeString:
    marks = [highest * place / GRID_LINES for place in range(GRID_LINES + 1)]
    return format_html_join(
        "",
        '<line class="an-grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="an-label" x="{}" y="{}" '
        'text-anchor="end">{}</text>',
        (
            (LEFT, WIDTH, f"{y:.1f}", f"{y:.1f}", LEFT - 8, f"{y + 4:.1f}", short(mark))
            for mark in marks
            for y in [_y(mark, highest)]
        ),
    )


def _dates(labels: Sequence[str]) -> SafeString:
    every = ceil(len(labels) / DATES_SHOWN)
    return format_html_join(
        "",
        '<text class="an-label" x="{}" y="{}" text-anchor="middle">{}</text>',
        (
            (f"{LEFT + (place + 0.5) * _step(labels):.1f}", HEIGHT - 8, label)
            for place, label in enumerate(labels)
            if place % every == 0
        ),
    )


def _bars(labels: Sequence[str], bars: Sequence[Series], place: int, highest: float, unit: str) -> SafeString:
    series, wide = bars[place], _step(labels) * 0.8 / len(bars)
    return format_html_join(
        "",
        '<rect class="an-{}" x="{}" y="{}" width="{}" height="{}"><title>{}, {}: {} {}</title></rect>',
        (
            (
                series.kind,
                f"{LEFT + (number + 0.1) * _step(labels) + place * wide:.1f}",
                f"{_y(value, highest):.1f}",
                f"{wide:.1f}",
                f"{_y(0, highest) - _y(value, highest):.1f}",
                labels[number],
                series.name,
                f"{value:,}",
                unit,
            )
            for number, value in enumerate(series.values)
            if value
        ),
    )


def _line(labels: Sequence[str], series: Series, highest: float, unit: str) -> SafeString:
    points = [
        (f"{LEFT + (place + 0.5) * _step(labels):.1f}", f"{_y(value, highest):.1f}", labels[place], value)
        for place, value in enumerate(series.values)
        if value is not None
    ]
    return format_html(
        '<polyline class="an-line an-{}" points="{}"/>{}',
        series.kind,
        " ".join(f"{x},{y}" for x, y, *_ in points),
        format_html_join(
            "",
            '<circle class="an-point an-{}" cx="{}" cy="{}" r="3"><title>{}, {}: {} {}</title></circle>',
            ((series.kind, x, y, label, series.name, f"{value:,}", unit) for x, y, label, value in points),
        ),
    )
