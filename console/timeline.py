"""A story as rows on a time axis: what is drawn, and nothing of how."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from console.formats import duration, offset
from eventbus.traces import Story, TracedDelivery, TracedEvent, TraceState

#: Where nothing happens for longer, the axis is broken.
LONGEST = timedelta(seconds=1)
#: Deepest step that is drawn.
DEEPEST = 9
#: So many consumers of a group that all went well at once are one row.
FEW = 3


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on the axis, in per cent of its width. `is_break`: here the axis leaves out a stretch of this length."""

    x: float
    label: str
    is_break: bool = False


class Axis:
    """Moments as places, in per cent. Long stretches in which nothing happens are left out and marked."""

    def __init__(self, moments: Iterable[datetime]) -> None:
        self.moments = sorted(set(moments))
        gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(self.moments)]
        longest = LONGEST.total_seconds()
        told = sum(gap for gap in gaps if gap <= longest)
        broken = told / 6 if told else 1.0
        self._ends, self.ticks, shown = [0.0], [], 0.0
        for gap in gaps:
            shown += gap if gap <= longest else broken
            self._ends.append(shown)
        self._length = shown or 1.0
        if self.moments:
            self.ticks = [Tick(0, "0"), *self._breaks(gaps, longest)]

    def _breaks(self, gaps: Sequence[float], longest: float) -> list[Tick]:
        found = []
        for place, gap in enumerate(gaps):
            if gap > longest:
                middle = (self._ends[place] + self._ends[place + 1]) / 2
                found.append(Tick(self._percent(middle), duration(gap), is_break=True))
        if not found and gaps:
            found = [Tick(50, duration(sum(gaps) / 2)), Tick(100, duration(sum(gaps)))]
        return found

    def _percent(self, shown: float) -> float:
        return round(shown / self._length * 100, 2)

    def at(self, moment: datetime) -> float:
        """The place of one of the moments that the axis was made of."""
        return self._percent(self._ends[self.moments.index(moment)])


@dataclass(frozen=True, slots=True)
class Bar:
    """From when an event waited, from when it was handled, and until when; in per cent of the axis."""

    waited: float
    begun: float
    ended: float

    @property
    def wait_width(self) -> float:
        return max(0.0, round(self.begun - self.waited, 2))

    @property
    def width(self) -> float:
        return max(0.8, round(self.ended - self.begun, 2))


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a trace. `kind`: event, delivery, or one that stands for many."""

    kind: str
    depth: int
    key: str
    title: str
    when: str = ""
    event: TracedEvent | None = None
    delivery: TracedDelivery | None = None
    many: Sequence[Any] = field(default=())
    dot: float | None = None
    bar: Bar | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    rows: Sequence[Row]
    ticks: Sequence[Tick]


def timeline(story: Story, now: datetime) -> Timeline:
    """The rows of a story, what came of each event below it."""
    if not story.events:
        return Timeline((), ())
    axis = Axis(_moments(story, now))
    begin = story.events[0].at
    rows = [row for root in story.roots for row in _event(root, 0, axis, begin, now)]
    return Timeline(rows, axis.ticks)


def _moments(story: Story, now: datetime) -> list[datetime]:
    found = [event.at for event in story.events]
    for delivery in story.deliveries:
        found += [moment for moment in (delivery.began_at, delivery.ended_at) if moment]
        if delivery.is_moving:
            found.append(now)
    return found


def _event(event: TracedEvent, depth: int, axis: Axis, begin: datetime, now: datetime) -> list[Row]:
    rows = [
        Row(
            kind="internal" if event.internal else "event",
            depth=min(depth, DEEPEST),
            key=f"e-{event.id}",
            title=event.type,
            when=offset(event.at, begin),
            event=event,
            dot=axis.at(event.at),
        )
    ]
    for several in _grouped(event):
        if len(several) >= FEW:
            rows.append(_many(event, several, depth + 1, axis, begin, now))
            continue
        for delivery in several:
            rows.append(_delivery(event, delivery, depth + 1, axis, begin, now))
            rows += _effects(event.caused.get(delivery.consumer, ()), depth + 2, axis, begin, now)
    return rows + _effects(event.caused.get("", ()), depth + 1, axis, begin, now)


def _effects(events: Sequence[TracedEvent], depth: int, axis: Axis, begin: datetime, now: datetime) -> list[Row]:
    """What was published; a long list of steps that are nobody else's business is one row."""
    inner = [event for event in events if event.internal]
    is_long = len(inner) >= FEW
    rows = [
        row for event in events if not (is_long and event.internal) for row in _event(event, depth, axis, begin, now)
    ]
    if is_long:
        rows.append(
            Row(
                kind="many-internal",
                depth=min(depth, DEEPEST),
                key=f"i-{inner[0].id}",
                title=f"{len(inner)} internal events",
                when=offset(inner[0].at, begin),
                many=inner,
                dot=axis.at(inner[0].at),
            )
        )
    return rows


def _grouped(event: TracedEvent) -> list[list[TracedDelivery]]:
    """The deliveries one by one, but those of a group together that went well and led to nothing."""
    found: list[list[TracedDelivery]] = []
    quiet: dict[str, list[TracedDelivery]] = {}
    for delivery in sorted(event.deliveries, key=_by_time):
        dull = delivery.state is TraceState.DONE and delivery.attempts == 1 and delivery.consumer not in event.caused
        if dull:
            quiet.setdefault(delivery.consumer.partition(".")[0], []).append(delivery)
        else:
            found.append([delivery])
    for several in quiet.values():
        found += [several] if len(several) >= FEW else [[each] for each in several]
    return found


def _by_time(delivery: TracedDelivery) -> tuple[bool, float, str]:
    moment = delivery.began_at
    return moment is None, moment.timestamp() if moment else 0.0, delivery.consumer


def _delivery(
    event: TracedEvent, delivery: TracedDelivery, depth: int, axis: Axis, begin: datetime, now: datetime
) -> Row:
    return Row(
        kind="delivery",
        depth=min(depth, DEEPEST),
        key=f"d-{event.id}-{delivery.consumer}",
        title=delivery.consumer,
        when=offset(delivery.ended_at or delivery.began_at, begin) if delivery.began_at else "",
        delivery=delivery,
        event=event,
        bar=_bar(event, delivery, axis, now),
    )


def _bar(event: TracedEvent, delivery: TracedDelivery, axis: Axis, now: datetime) -> Bar | None:
    waited = axis.at(event.at)
    if delivery.began_at is None or delivery.is_moving:
        return Bar(waited, axis.at(now), axis.at(now)) if delivery.is_moving else None
    begun = max(waited, axis.at(delivery.began_at))
    ended = axis.at(delivery.ended_at) if delivery.ended_at else begun
    return Bar(waited, begun, max(begun, ended))


def _many(
    event: TracedEvent, several: Sequence[TracedDelivery], depth: int, axis: Axis, begin: datetime, now: datetime
) -> Row:
    last = max((each.ended_at or each.began_at or event.at) for each in several)
    bars = [bar for each in several if (bar := _bar(event, each, axis, now))]
    group = several[0].consumer.partition(".")[0]
    return Row(
        kind="many",
        depth=min(depth, DEEPEST),
        key=f"m-{event.id}-{group}",
        title=f"{group}.* ({len(several)})",
        when=offset(last, begin),
        event=event,
        many=several,
        bar=Bar(bars[0].waited, min(bar.begun for bar in bars), max(bar.ended for bar in bars)) if bars else None,
    )
