"""What a change of a schema breaks, and for whom.

The question is asked twice: can the new code read what was written by the published schema, in the archive and under
way; and can whoever reads by the published schema read what the new code writes. A writer writes the fields that its
schema has, and no others; a reader passes over what it does not know.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Schema = Mapping[str, Any]

#: Say nothing of which values are valid.
ANNOTATIONS = frozenset(
    {"$schema", "$id", "$comment", "$defs", "title", "description", "default", "examples", "deprecated"}
)
#: Of these we know what they let through. Any other has to stay as it is.
JUDGED = frozenset(
    {
        "$ref", "anyOf", "type", "const", "enum", "properties", "required", "additionalProperties", "items",
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems",
    }
)  # fmt: skip
#: The lower and the upper bound of a kind, and what is bounded.
RANGES = {"Length": "its length", "Items": "its number of items", "imum": "it"}


class Verdict(StrEnum):
    """As schema registries call it. BACKWARD: the new code reads old events. FORWARD: old code reads new events."""

    FULL = "FULL"
    BACKWARD = "BACKWARD"
    FORWARD = "FORWARD"
    BREAKING = "BREAKING"


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that may be written and is not understood; `pointer` leads to it in the message."""

    pointer: str
    why: str

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.why}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What new code does not understand of old events, and old code of new ones."""

    backward: list[Gap]
    forward: list[Gap]

    @property
    def verdict(self) -> Verdict:
        reads_old, is_read = not self.backward, not self.forward
        if reads_old and is_read:
            return Verdict.FULL
        return Verdict.BACKWARD if reads_old else Verdict.FORWARD if is_read else Verdict.BREAKING


def compare(old: Schema, new: Schema) -> Comparison:
    """What changes from one schema to the other."""
    backward = list(_Walk(reader=new, writer=old, published_reads=False).gaps(new, old, ""))
    forward = list(_Walk(reader=old, writer=new, published_reads=True).gaps(old, new, ""))
    return Comparison(backward, forward)


@dataclass
class _Walk:
    """Looks for what `writer` lets through and `reader` does not. Both are whole schemas, for what they refer to.

    `published_reads`: the reader is the published schema, so that a field that is gone is missed.
    """

    reader: Schema
    writer: Schema
    published_reads: bool
    seen: set[tuple[str, str]] = field(default_factory=set)

    def gaps(self, reader: Schema, writer: Schema, at: str) -> Iterator[Gap]:
        refs = str(reader.get("$ref")), str(writer.get("$ref"))
        if "None" not in refs:
            if refs in self.seen:
                return
            self.seen.add(refs)
        readers, writers = _alternatives(self.reader, reader), _alternatives(self.writer, writer)
        if not self.published_reads and reader.get("default") != writer.get("default") and "default" in writer:
            yield Gap(at, f"left out it means {reader.get('default')!r}, and meant {writer['default']!r}")
        for each in writers:
            found = [list(self._plain(known, each, at)) for known in readers]
            if all(found):
                alike = [gap for known, gap in zip(readers, found, strict=True) if _types(known) == _types(each)]
                alone = found if len(writers) == len(readers) == 1 else []
                yield from next(iter([*alike, *alone]), [Gap(at, f"may be {_name(each)}, not only {_names(readers)}")])

    def _plain(self, reader: Schema, writer: Schema, at: str) -> Iterator[Gap]:
        """Of two schemas without alternatives."""
        if strange := [kind for kind in _types(writer) if not _takes(reader, kind)]:
            yield Gap(at, f"is {' or '.join(strange)}, not {_name(reader)}")
            return
        yield from _values(reader, writer, at)
        yield from _ranges(reader, writer, at)
        yield from self._fields(reader, writer, at)
        if "items" in reader:
            yield from self.gaps(reader["items"], writer.get("items", {}), f"{at}/*")
        for word in sorted(set(reader) - ANNOTATIONS - JUDGED):
            if reader[word] != writer.get(word):
                yield Gap(at, f"{word} is {writer.get(word, 'not given')}, not {reader[word]}")

    def _fields(self, reader: Schema, writer: Schema, at: str) -> Iterator[Gap]:
        written = writer.get("properties", {})
        for name, known in reader.get("properties", {}).items():
            is_required = name in reader.get("required", ())
            if name not in written:
                if is_required:
                    yield Gap(f"{at}/{name}", "is required, and is not there")
                elif self.published_reads:
                    yield Gap(f"{at}/{name}", "is not written any more: who reads it finds nothing")
                continue
            if is_required and name not in writer.get("required", ()):
                yield Gap(f"{at}/{name}", "is required, and may be missing")
            yield from self.gaps(known, written[name], f"{at}/{name}")
        others = reader.get("additionalProperties", True)
        if others is False:
            for name in sorted(set(written) - set(reader.get("properties", {}))):
                yield Gap(f"{at}/{name}", "is not allowed")
        elif isinstance(others, Mapping):
            writes = writer.get("additionalProperties", True)
            yield from self.gaps(others, writes if isinstance(writes, Mapping) else {}, f"{at}/*")


def _alternatives(root: Schema, schema: Schema) -> list[Schema]:
    """The schema without references on top, each of its alternatives by itself."""
    while "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        schema = {**root["$defs"][name], **{word: rest for word, rest in schema.items() if word != "$ref"}}
    if "anyOf" not in schema:
        return [schema]
    rest = {word: each for word, each in schema.items() if word != "anyOf"}
    return [found for each in schema["anyOf"] for found in _alternatives(root, {**rest, **each})]


def _types(schema: Schema) -> list[str]:
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else sorted(kind) or ["anything"]


def _takes(schema: Schema, kind: str) -> bool:
    return "type" not in schema or kind in _types(schema) or (kind == "integer" and "number" in _types(schema))


def _name(schema: Schema) -> str:
    return repr(schema["const"]) if "const" in schema else " or ".join(_types(schema))


def _names(schemas: list[Schema]) -> str:
    return " or ".join(_name(each) for each in schemas)


def _values(reader: Schema, writer: Schema, at: str) -> Iterator[Gap]:
    known, written = _listed(reader), _listed(writer)
    if known is None:
        return
    if written is None:
        yield Gap(at, f"may be anything, not only {', '.join(map(repr, known))}")
    elif new := [each for each in written if each not in known]:
        yield Gap(at, f"may be {', '.join(map(repr, new))}, which is none of {', '.join(map(repr, known))}")


def _listed(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _ranges(reader: Schema, writer: Schema, at: str) -> Iterator[Gap]:
    for suffix, what in RANGES.items():
        lowest, least = _bound(reader, f"min{suffix}", 1), _bound(writer, f"min{suffix}", 1)
        highest, most = _bound(reader, f"max{suffix}", -1), _bound(writer, f"max{suffix}", -1)
        if lowest is not None and (least is None or least < lowest):
            yield Gap(at, f"{what} may be less than {lowest[0]}")
        if highest is not None and (most is None or most > highest):
            yield Gap(at, f"{what} may be more than {highest[0]}")


def _bound(schema: Schema, word: str, inwards: int) -> tuple[Any, int] | None:
    """A bound, and whether it is itself outside: as two numbers that compare."""
    if word in schema:
        return schema[word], 0
    excluded = schema.get(f"exclusive{word.capitalize()}")
    if excluded is None:
        # No length is below 0.
        return (0, 0) if word in ("minLength", "minItems") else None
    return (excluded + inwards, 0) if schema.get("type") == "integer" else (excluded, inwards)
