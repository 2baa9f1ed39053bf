"""What any program may send as one of our events: each field of each contract refuses what nobody can mean by it, so
that no consumer has to."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from eventbus import InvalidEvent, encode_json
from eventbus.contracts.codec import decode
from eventbus.contracts.registry import CONTRACTS
from eventbus.errors import Reason
from tests.support.event_fixtures import FOLDER

NIL, MAX = str(UUID(int=0)), str(UUID(int=2**128 - 1))

#: An id that names another aggregate than the envelope makes that one wrong.
REFUSED = (Reason.INVALID_DATA, Reason.INVALID_ENVELOPE)
MAY_BE_EMPTY = {"const": "", "type": "string"}

#: By what a field holds, as JSON Schema calls it.
HOSTILE: dict[str, list[Any]] = {
    "integer": ["1", True, Decimal("1.0"), Decimal("1.5"), 10**30, None, [], {}],
    "number": [True, "19.99", "NaN", "Infinity", "nineteen", Decimal("1E+30"), -1, None, []],
    "signed": [True, "19.99", "NaN", "Infinity", "nineteen", Decimal("1E+30"), Decimal("-1E+12"), None, []],
    "uuid": [NIL, MAX, "", "42", 42, None, {}],
    "date-time": ["2026-02-01T00:00:00", "2026-02-01", "2026-02-01T00:00:00Z\n", 1769904000, "yesterday", None],
    "date": ["2026-02-01T00:00:00", "2026-02-01\n", "2026-02-30", 1769904000, "1769904000", None],
    "string": ["", "a\nb", "a\r\nBcc: all@x.example", "a\x00", "a\u2028b", "x" * 1_001, 1, True, None, []],
    "perhaps": ["", "a\nb", "a\x00", "x" * 1_001, 1, True, []],
    "maybe": ["a\nb", "x" * 1_001, 1, None],
    "array": [{}, "a", 1, None],
    "object": [[], "a", 1, None],
}

Path = tuple[str | int, ...]


def fields() -> Iterator[tuple[str, str, Path, str]]:
    """Every field of every contract that a kept event has: type, version, where it is in the data, what it holds."""
    for file in sorted(FOLDER.glob("*.jsonl")):
        event_type, _, version = file.stem.rpartition("-")
        schema = CONTRACTS[event_type, version.partition(".")[0]].model_json_schema()
        data = sample(event_type, version)["data"]
        for path, kind in leaves(schema, schema, data, ()):
            yield event_type, version, path, kind


def leaves(root: Any, schema: Any, value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    schema = resolved(root, schema)
    yield path, "signed" if schema.get("exclusiveMinimum", 0) < 0 else schema.get("format", schema["type"])
    if isinstance(value, dict):
        for name, part in schema["properties"].items():
            if value.get(name) is not None:
                yield from leaves(root, part, value[name], (*path, name))
    elif isinstance(value, list) and value:
        yield from leaves(root, schema["items"], value[0], (*path, 0))


def resolved(root: Any, schema: Any) -> Any:
    """The schema of what stands there, where it may also be absent or null."""
    if "$ref" in schema:
        return resolved(root, root["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        first, second = schema["anyOf"]
        if first == MAY_BE_EMPTY:
            return resolved(root, second) | {"format": "maybe"}
        return resolved(root, first) | ({"format": "perhaps"} if second == {"type": "null"} else {})
    return schema


def sample(event_type: str, version: str) -> Any:
    line = max((FOLDER / f"{event_type}-{version}.jsonl").read_bytes().splitlines(), key=len)
    return json.loads(line, parse_float=Decimal)


@pytest.mark.parametrize(("event_type", "version", "path", "kind"), [each for each in fields() if each[2]])
def test_each_field_refuses_what_nobody_means(event_type: str, version: str, path: Path, kind: str) -> None:
    verdicts = [(value, verdict(changed(event_type, version, path, value))) for value in HOSTILE[kind]]
    assert [(value, reason) for value, reason in verdicts if reason not in REFUSED] == []


def changed(event_type: str, version: str, path: Path, value: Any) -> bytes:
    """A kept event with this value at that place in its data."""
    envelope = sample(event_type, version)
    *way, last = path
    place = envelope["data"]
    for step in way:
        place = place[step]
    place[last] = value
    return encode_json(envelope)


def verdict(body: bytes) -> Reason | None:
    """Why it is refused; None for what is taken."""
    try:
        decode(body)
    except InvalidEvent as refused:
        return refused.reason
    return None
