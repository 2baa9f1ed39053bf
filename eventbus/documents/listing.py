"""The events for people: what each means and holds, who publishes and who receives it, how its versions differ."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from eventbus.contracts.casting import majors
from eventbus.contracts.event import Event
from eventbus.contracts.registry import CONTRACTS
from eventbus.contracts.versions import major
from eventbus.declaration import CONSUMERS
from eventbus.documents.fields import Field, fields_of
from eventbus.schemas.comparing import Gap, Verdict, compare
from eventbus.schemas.folder import example_of, load, published


@dataclass(frozen=True, slots=True)
class Listener:
    """A consumer of an event: what it does, and by which routing keys it gets it."""

    name: str
    meaning: str
    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class Change:
    """What one published version has that the one before has not, and what that means for who reads the other."""

    since: str
    to: str
    verdict: Verdict
    added: Sequence[Field]
    removed: Sequence[Field]
    changed: Sequence[tuple[Field, Field]]
    gaps: Sequence[Gap]


@dataclass(frozen=True, slots=True)
class Told:
    """What the catalogue says of an event. `example` is a whole message; `versions`: those published, oldest first."""

    type: str
    meaning: str
    more: str
    publisher: str
    aggregate_type: str
    internal: bool
    routing_keys: Sequence[str]
    versions: Sequence[str]
    listeners: Sequence[Listener]


@dataclass(frozen=True, slots=True)
class Page:
    """All of an event, in one of its versions."""

    told: Told
    version: str
    superseded_by: str
    fields: Sequence[Field]
    example: Any
    changes: Sequence[Change]


def catalogue() -> list[Told]:
    """Every event that has a published schema and is still in the code, by type."""
    versions: dict[str, list[str]] = {}
    for event_type, version in published():
        versions.setdefault(event_type, []).append(version)
    types = sorted({event_type for event_type, _ in CONTRACTS} & versions.keys())
    return [_told(event_type, versions[event_type]) for event_type in types]


def page_of(event_type: str, version: str = "") -> Page | None:
    """All of an event in this version, or its newest; None where nothing such is published."""
    told = next((each for each in catalogue() if each.type == event_type), None)
    if told is None or (version and version not in told.versions):
        return None
    shown = version or told.versions[-1]
    schema = load(event_type, shown)
    return Page(
        told,
        shown,
        superseded_by=told.versions[-1] if major(shown) != major(told.versions[-1]) else "",
        fields=list(fields_of(schema, schema)),
        example=example_of(event_type, shown),
        changes=[_change(event_type, since, to) for since, to in pairwise(told.versions)][::-1],
    )


def _told(event_type: str, versions: Sequence[str]) -> Told:
    contracts = [CONTRACTS[event_type, each] for each in majors(event_type)]
    newest = contracts[-1]
    meaning, _, more = (newest.__doc__ or "").strip().partition("\n\n")
    return Told(
        type=event_type,
        meaning=" ".join(meaning.split()),
        more=" ".join(more.split()),
        publisher=newest.__module__.partition(".")[0],
        aggregate_type=newest.aggregate_type,
        internal=newest.internal,
        routing_keys=[each.routing_key() for each in contracts],
        versions=versions,
        listeners=list(_listeners(contracts)),
    )


def _listeners(contracts: Sequence[type[Event]]) -> Iterator[Listener]:
    keys = {each.routing_key() for each in contracts}
    for name in sorted(CONSUMERS):
        consumer = CONSUMERS[name]
        if wanted := [key for key in consumer.routing_keys if key in keys]:
            yield Listener(name, (consumer.handler.__doc__ or "").strip().partition("\n\n")[0], wanted)


def _change(event_type: str, since: str, to: str) -> Change:
    old, new = load(event_type, since), load(event_type, to)
    compared = compare(old, new)
    before, after = ({each.path: each for each in fields_of(schema, schema)} for schema in (old, new))
    return Change(
        since,
        to,
        compared.verdict,
        added=[each for path, each in after.items() if path not in before],
        removed=[each for path, each in before.items() if path not in after],
        changed=[
            (before[path], each)
            for path, each in after.items()
            if path in before and path != "version" and _says(before[path]) != _says(each)
        ],
        gaps=[*compared.backward, *compared.forward],
    )


def _says(field: Field) -> tuple[str, bool]:
    return field.holds, field.required
