"""The published schemas are what the code does: a validator that knows nothing of us judges events as we do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema_rs
import pytest

from eventbus import InvalidEvent, encode_json
from eventbus.contracts.codec import decode
from eventbus.contracts.registry import CONTRACTS
from eventbus.schemas.folder import example_of, load, published
from eventbus.schemas.writing import schema_of
from tests.support.event_fixtures import FOLDER, contracts

FILES = sorted(FOLDER.glob("*.jsonl"))
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)

#: What is wrong with a field, by what it holds, as JSON Schema can say it.
WRONG: dict[str, list[Any]] = {
    "integer": ["1", True, 1.5, 10**30, -1, None, [], {}],
    "number": [True, "19.99", "NaN", 10**30, None, []],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "", "42", 42, None],
    "date-time": ["2026-02-01T00:00:00", "2026-02-01", "yesterday", 1769904000, None],
    "date": ["2026-02-01T00:00:00", "2026-02-30", "1769904000", 1769904000, None],
    "string": ["", "a\nb", "a\x00", "a\u2028b", "x" * 1_001, 1, True, None, []],
    "array": [{}, "a", 1, None],
    "object": [[], "a", 1, None],
}
Place = tuple[str | int, ...]


def judge(event_type: str, version: str) -> Any:
    return jsonschema_rs.Draft202012Validator(load(event_type, version), validate_formats=True)


def takes(body: bytes) -> bool:
    """Whether a consumer of ours would."""
    try:
        decode(body)
    except InvalidEvent:
        return False
    return True


def test_every_contract_is_published_as_it_is() -> None:
    ours = contracts()
    assert set(ours) <= set(published()), "run `manage.py export_schemas`"
    for event_type, version in ours:
        contract = CONTRACTS[event_type, version.partition(".")[0]]
        assert load(event_type, version) == schema_of(contract), "`manage.py check_schemas` says what changed"


@pytest.mark.parametrize(("event_type", "version"), published())
def test_a_published_schema_is_one(event_type: str, version: str) -> None:
    schema = load(event_type, version)
    jsonschema_rs.meta.validate(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(("event_type", "version"), published())
def test_a_published_schema_has_an_example_that_it_takes(event_type: str, version: str) -> None:
    example = example_of(event_type, version)
    assert example is not None, "`python -m tests.support.event_fixtures` writes one"
    judge(event_type, version).validate(example)
    assert (example["eventType"], example["version"]) == (event_type, version)


@each_file
def test_both_take_every_kept_event(file: Path) -> None:
    for line in file.read_bytes().splitlines():
        raw = json.loads(line)
        judge(raw["eventType"], raw["version"]).validate(raw)
        assert takes(line)


@each_file
def test_both_take_a_newer_minor_version_with_a_field_that_nobody_knows(file: Path) -> None:
    raw = sample(file)
    known = judge(raw["eventType"], raw["version"])
    raw["version"] = f"{raw['version'].partition('.')[0]}.99"
    raw["data"]["addedLater"] = {"by": "somebody"}
    known.validate(raw)
    assert takes(encode_json(raw))


@each_file
def test_both_refuse_what_is_missing_or_wrong(file: Path) -> None:
    raw = sample(file)
    schema = load(raw["eventType"], raw["version"])
    known = judge(raw["eventType"], raw["version"])
    agreed = 0
    for changed in variants(schema, raw):
        ours, theirs = takes(encode_json(changed)), known.is_valid(changed)
        assert (ours, theirs) == (False, False), changed
        agreed += 1
    assert agreed > 20


def sample(file: Path) -> Any:
    return json.loads(max(file.read_bytes().splitlines(), key=len))


def variants(schema: Any, raw: Any) -> Iterator[Any]:
    """The event with one thing wrong in each."""
    for path, kind, is_required in fields(schema, schema, raw, ()):
        for value in WRONG.get(kind, []):
            if (value is None and not is_required) or (value == -1 and kind == "integer" and allows_less(schema, path)):
                continue
            yield changed(raw, path, value)
        if is_required:
            yield changed(raw, path, ...)
    yield raw | {"eventId": str(uuid4())}
    yield raw | {"eventType": "order.eaten"}


def fields(root: Any, schema: Any, value: Any, path: Place) -> Iterator[tuple[Place, str, bool]]:
    """Every field that the event has: where it is, what it holds, and whether it has to be there."""
    for name, part in resolved(root, schema).get("properties", {}).items():
        if value.get(name) is None:
            continue
        part = resolved(root, part)
        is_required = name in resolved(root, schema)["required"]
        yield (*path, name), kind_of(part), is_required
        if isinstance(value[name], dict):
            yield from fields(root, part, value[name], (*path, name))
        elif isinstance(value[name], list) and value[name]:
            yield from fields(root, part["items"], value[name][0], (*path, name, 0))


def kind_of(schema: Any) -> str:
    if "const" in schema or "enum" in schema or "anyOf" in schema:
        return "listed"
    return str(schema.get("format", schema["type"]))


def resolved(root: Any, schema: Any) -> Any:
    return root["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def allows_less(root: Any, path: Place) -> bool:
    """Whether this whole number may be below zero."""
    part = root
    for step in path:
        part = resolved(root, part)
        part = part["items"] if isinstance(step, int) else part["properties"][step]
    return "exclusiveMinimum" in part and part["exclusiveMinimum"] < 0


def changed(raw: Any, path: Place, value: Any) -> Any:
    """A copy with this value at that place; ... takes it out."""
    copy = json.loads(json.dumps(raw))
    place = copy
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copy
