"""Whether the contracts in the code keep what their published schemas promise: what breaks, for whom, what to do."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventbus.conf import bus_settings
from eventbus.contracts.casting import CASTS, majors, steps
from eventbus.contracts.event import Event
from eventbus.contracts.registry import CONTRACTS
from eventbus.contracts.versions import major, routing_key
from eventbus.declaration import CONSUMERS
from eventbus.schemas.comparing import Comparison, Verdict, compare
from eventbus.schemas.folder import file_of, load, numbers, published
from eventbus.schemas.writing import schema_of

#: What may be wrong, each with what it means.
RULES = {
    "not-exported": "A version of a contract has no published schema.",
    "changed": "A published version says something else now.",
    "text-changed": "Only words of a published schema differ from the code.",
    "not-a-minor": "A minor version must be read by those who know the one before, and read what was written by it.",
    "went-back": "A newer minor version is published than the code knows.",
    "gone": "A version is published, and nothing in the code reads it.",
    "missing-upcaster": "Events of an older major version can't be read by consumers of the next one.",
}


@dataclass(frozen=True)
class Finding:
    """Something that a contract promised and does not keep.

    `verdict` is that of the change from `published` to what the code says, where it is one; `breaks` names the
    consumers that would meet events they can't read; `place` is the file and the line of the class.
    """

    rule: str
    event_type: str
    version: str
    advice: str
    published: str = ""
    verdict: Verdict | None = None
    reasons: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    place: tuple[str, int] | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "contract": self.event_type,
            "version": self.version,
            "published": self.published or None,
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "breaks": list(self.breaks),
            "advice": self.advice,
            "file": self.place[0] if self.place else None,
            "line": self.place[1] if self.place else None,
        }


def review() -> list[Finding]:
    """Everything that is wrong with the contracts, by type and version."""
    found = [finding for contract in CONTRACTS.values() for finding in _of_contract(contract)]
    found += [_gone(kind, version) for kind, version in published() if (kind, major(version)) not in CONTRACTS]
    return sorted(found, key=lambda each: (each.event_type, numbers(each.version), each.rule))


def _of_contract(contract: type[Event]) -> Iterator[Finding]:
    versions = [
        version
        for event_type, version in published()
        if (event_type, major(version)) == (contract.type, major(contract.version))
    ]
    new = schema_of(contract)
    if contract.version not in versions:
        yield _finding("not-exported", contract, "Run `manage.py export_schemas`, and commit the file that it writes.")
    for version in versions:
        old = load(contract.type, version)
        comparison = compare(old, new)
        if numbers(version) > numbers(contract.version):
            advice = f"Declare what {version} has: it is published, and its events are archived."
            yield _finding("went-back", contract, advice, version, comparison)
        elif version == contract.version:
            if old != new:
                yield _changed(contract, comparison)
        elif comparison.verdict is not Verdict.FULL:
            yield _finding("not-a-minor", contract, _next_major(contract, version), version, comparison)
    newer = majors(contract.type)
    for step in steps(contract.type, major(contract.version), newer[-1])[:1]:
        if (contract.type, *step) not in CASTS:
            advice = f"Write @upcast from {step[0]} to {step[1]} beside the two classes."
            yield _finding("missing-upcaster", contract, advice)


def _changed(contract: type[Event], comparison: Comparison) -> Finding:
    version = contract.version
    if comparison.verdict is not Verdict.FULL:
        return _finding("changed", contract, _next_major(contract, version), version, comparison)
    if compare(schema_of(contract), load(contract.type, version)).verdict is Verdict.FULL:
        advice = "Run `manage.py export_schemas`: nobody reads events otherwise for it."
        return _finding("text-changed", contract, advice, version, comparison)
    raised = f"{major(version)}.{numbers(version)[1] + 1}"
    advice = f'Raise the version to "{raised}" and run `manage.py export_schemas`: both sides read it.'
    return _finding("changed", contract, advice, version, comparison)


def _next_major(contract: type[Event], version: str) -> str:
    following = f"{int(majors(contract.type)[-1]) + 1}.0"
    return (
        f"Give {contract.__name__} back what {version} says, and declare the change as version {following}, a class of "
        "its own with an upcaster and a downcaster."
    )


def _finding(
    rule: str, contract: type[Event], advice: str, published: str = "", comparison: Comparison | None = None
) -> Finding:
    return Finding(
        rule,
        contract.type,
        contract.version,
        advice,
        published,
        comparison.verdict if comparison else None,
        tuple(_reasons(comparison, published)) if comparison else (),
        _listeners(contract.type, contract.version) if _breaks(rule, comparison) else (),
        _place(contract),
    )


def _breaks(rule: str, comparison: Comparison | None) -> bool:
    return rule == "missing-upcaster" or (comparison is not None and comparison.verdict is not Verdict.FULL)


def _reasons(comparison: Comparison, version: str) -> Iterator[str]:
    for gap in comparison.backward:
        yield f"An event of {version}, archived or under way, that the code can't read: {gap}"
    for gap in comparison.forward:
        yield f"An event of the code that readers of {version} don't understand: {gap}"


def _gone(event_type: str, version: str) -> Finding:
    advice = (
        f"Give the contract its class back for as long as events of {version} are archived, waiting or dead letters. "
        f"If none are, remove {_relative(file_of(event_type, version))} too."
    )
    return Finding("gone", event_type, version, advice, version, breaks=_listeners(event_type, version))


def _listeners(event_type: str, version: str) -> tuple[str, ...]:
    key = routing_key(event_type, version)
    return tuple(sorted(each.name for each in CONSUMERS.values() if key in each.routing_keys))


def _place(contract: type[Event]) -> tuple[str, int] | None:
    try:
        return _relative(Path(inspect.getfile(contract))), inspect.getsourcelines(contract)[1]
    except (OSError, TypeError):
        return None  # it was not read from a file


def _relative(path: Path) -> str:
    root: Path = bus_settings.CODE_ROOT.resolve()
    return str(path.resolve().relative_to(root) if path.resolve().is_relative_to(root) else path)
