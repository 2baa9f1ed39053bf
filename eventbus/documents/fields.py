"""A JSON Schema as a table: a row per field, in words. For pages and for what changes from one version to the next."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

FORMATS = {"uuid": "UUID", "date-time": "moment", "date": "day"}
DEEPEST = 6
TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


@dataclass(frozen=True, slots=True)
class Field:
    """A field: where it is, as in `items[].unitPrice`, what it holds, and whether it has to be there."""

    path: str
    holds: str
    required: bool
    meaning: str


def fields_of(schema: Schema, root: Schema, under: str = "") -> Iterator[Field]:
    """The fields of a schema, each followed by its own. `root` is the document that it refers into."""
    own = _resolved(schema, root)
    for name, told in own.get("properties", {}).items():
        path = f"{under}.{name}" if under else name
        each = _resolved(told, root)
        yield Field(path, _holds(each, root), name in own.get("required", ()), str(each.get("description", "")))
        inner, suffix = _inside(each, root)
        # What may hold itself has to end somewhere.
        if path.count(".") < DEEPEST:
            yield from fields_of(inner, root, f"{path}{suffix}")


def _resolved(schema: Schema, root: Schema) -> Schema:
    """The schema without a reference on top; what stands beside the reference comes before what it leads to."""
    while "$ref" in schema:
        found: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        schema = {**found, **{word: each for word, each in schema.items() if word != "$ref"}}
    return schema


def _inside(schema: Schema, root: Schema) -> tuple[Schema, str]:
    """What has the fields below this one, and how their paths go on."""
    for each in schema.get("anyOf", ()):
        found, suffix = _inside(_resolved(each, root), root)
        if found:
            return found, suffix
    if "items" in schema:
        return _resolved(schema["items"], root), "[]"
    return (schema, "") if "properties" in schema else ({}, "")


def _holds(schema: Schema, root: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(_holds(_resolved(each, root), root) for each in schema["anyOf"])
    if "const" in schema:
        return f"“{schema['const']}”"
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    kind = schema.get("type")
    if kind == "array":
        each = _holds(_resolved(schema.get("items", {}), root), root)
        return f"list{'' if each == 'object' else f' of {each}'}{_range(schema, 'Items', '')}"
    if kind in ("object", None):
        return "object" if kind else "anything"
    if kind == "string":
        return FORMATS.get(schema.get("format", ""), "text") + _range(schema, "Length", "characters")
    if "minimum" in schema and "maximum" in schema:
        return f"{TYPES.get(str(kind), kind)}, {schema['minimum']:,} to {schema['maximum']:,}"
    bounds = " and ".join(f"{sign} {schema[word]:,}" for word, sign in BOUNDS.items() if word in schema)
    return f"{TYPES.get(str(kind), kind)} {bounds}".rstrip()


def _range(schema: Schema, suffix: str, unit: str) -> str:
    least, most = schema.get(f"min{suffix}", 0), schema.get(f"max{suffix}")
    if most is None:
        return f", at least {least} {unit}".rstrip() if least else ""
    return f", {least} to {most:,} {unit}".rstrip() if least else f", at most {most:,} {unit}".rstrip()
