"""A table of changes, each looked at from both sides: old events under new code, and new events under old code."""

from typing import Any

import jsonschema_rs
import pytest

from eventbus.schemas.comparing import compare

TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "number"}
WHOLE: dict[str, Any] = {"type": "integer"}
NOTHING: dict[str, Any] = {"type": "null"}


def of(fields: dict[str, Any], optional: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """An object of these fields, all but the optional ones required."""
    required = [name for name in fields if name not in optional]
    return {"type": "object", "properties": fields, "required": required, **more}


def field(schema: Any) -> dict[str, Any]:
    """An object of one field."""
    return of({"it": schema})


LINE = of({"sku": TEXT, "pieces": WHOLE})
KIND = {"type": "string", "enum": ["a", "b"]}

#: From what, to what, and what is said of the old events and of the new ones; "" where they are understood.
CHANGES: dict[str, tuple[Any, Any, str, str]] = {
    "nothing": (field(TEXT), field(TEXT), "", ""),
    "words": (field(TEXT), field(TEXT | {"description": "New.", "title": "It"}), "", ""),
    "an optional field is added": (field(TEXT), of({"it": TEXT, "more": TEXT}, ("more",)), "", ""),
    "a required field is added": (field(TEXT), of({"it": TEXT, "more": TEXT}), "/more: is required", ""),
    "a required field is removed": (of({"it": TEXT, "more": TEXT}), field(TEXT), "", "/more: is required"),
    "an optional field is removed": (
        *(of({"it": TEXT, "more": TEXT}, ("more",)), field(TEXT)),
        *("", "/more: is not written any more"),
    ),
    "a field is renamed": (of({"one": TEXT}), of({"other": TEXT}), "/other: is required", "/one: is required"),
    "a field becomes optional": (field(TEXT), of({"it": TEXT}, ("it",)), "", "/it: is required, and may be missing"),
    "a field becomes required": (of({"it": TEXT}, ("it",)), field(TEXT), "/it: is required, and may be missing", ""),
    "text becomes a number": (field(TEXT), field(NUMBER), "/it: is string, not number", "/it: is number, not string"),
    "a whole number gets a fraction": (field(WHOLE), field(NUMBER), "", "/it: is number, not integer"),
    "a number loses its fraction": (field(NUMBER), field(WHOLE), "/it: is number, not integer", ""),
    "a value becomes a list": (
        *(field(TEXT), field({"type": "array", "items": TEXT})),
        *("/it: is string, not array", "/it: is array, not string"),
    ),
    "null is allowed": (field(TEXT), field({"anyOf": [TEXT, NOTHING]}), "", "/it: may be null"),
    "null is refused": (field({"anyOf": [TEXT, NOTHING]}), field(TEXT), "/it: may be null", ""),
    "a value is added to a list": (field(KIND), field(KIND | {"enum": ["a", "b", "c"]}), "", "/it: may be 'c'"),
    "a value is removed from a list": (field(KIND), field(KIND | {"enum": ["a"]}), "/it: may be 'b'", ""),
    "text becomes one of a list": (field(TEXT), field(KIND), "/it: may be anything", ""),
    "a constant changes": (field({"const": 1}), field({"const": 2}), "/it: may be 1", "/it: may be 2"),
    "longer text": (
        *(field(TEXT | {"maxLength": 5}), field(TEXT | {"maxLength": 9})),
        *("", "/it: its length may be more than 5"),
    ),
    "shorter text": (
        *(field(TEXT | {"maxLength": 9}), field(TEXT | {"maxLength": 5})),
        *("/it: its length may be more than 5", ""),
    ),
    "no empty text": (field(TEXT), field(TEXT | {"minLength": 1}), "/it: its length may be less than 1", ""),
    "a lower limit": (
        *(field(WHOLE | {"minimum": 1}), field(WHOLE | {"minimum": 0})),
        *("", "/it: it may be less than 1"),
    ),
    "a limit that is itself outside": (
        *(field(NUMBER | {"minimum": 1}), field(NUMBER | {"exclusiveMinimum": 1})),
        *("/it: it may be less than 1", ""),
    ),
    "the same limit in other words": (
        *(field(WHOLE | {"maximum": 9}), field(WHOLE | {"exclusiveMaximum": 10})),
        *("", ""),
    ),
    "an upper limit goes": (field(WHOLE | {"maximum": 9}), field(WHOLE), "", "/it: it may be more than 9"),
    "a pattern comes": (field(TEXT), field(TEXT | {"pattern": "^a"}), "/it: pattern is not given", ""),
    "a pattern changes": (
        *(field(TEXT | {"pattern": "^a"}), field(TEXT | {"pattern": "^b"})),
        *("/it: pattern is ^a, not ^b", "/it: pattern is ^b, not ^a"),
    ),
    "a word that is not judged": (field(TEXT), field(TEXT | {"not": {"const": ""}}), "/it: not is not given", ""),
    "a list's items change": (
        *(field({"type": "array", "items": TEXT}), field({"type": "array", "items": WHOLE})),
        *("/it/*: is string, not integer", "/it/*: is integer, not string"),
    ),
    "a list may not be empty": (
        *(field({"type": "array", "items": TEXT}), field({"type": "array", "items": TEXT, "minItems": 1})),
        *("/it: its number of items may be less than 1", ""),
    ),
    "an item's field is removed": (
        *(field({"type": "array", "items": LINE}), field({"type": "array", "items": of({"sku": TEXT})})),
        *("", "/it/*/pieces: is required"),
    ),
    "unknown fields are refused": (
        *(of({"it": TEXT, "more": TEXT}), of({"it": TEXT}, additionalProperties=False)),
        *("/more: is not allowed", "/more: is required"),
    ),
    "the values of a mapping change": (
        *(field({"type": "object", "additionalProperties": TEXT}),),
        *(field({"type": "object", "additionalProperties": WHOLE}),),
        *("/it/*: is string, not integer", "/it/*: is integer, not string"),
    ),
    "what is left out means something else": (
        *(of({"it": TEXT | {"default": "a"}}, ("it",)), of({"it": TEXT | {"default": "b"}}, ("it",))),
        *("/it: left out it means 'b', and meant 'a'", ""),
    ),
    "a named part changes": (
        field({"$ref": "#/$defs/Line"}) | {"$defs": {"Line": LINE}},
        field({"$ref": "#/$defs/Line"}) | {"$defs": {"Line": of({"sku": WHOLE, "pieces": WHOLE})}},
        "/it/sku: is string, not integer",
        "/it/sku: is integer, not string",
    ),
    "a part gets another name": (
        field({"$ref": "#/$defs/Line"}) | {"$defs": {"Line": LINE}},
        field({"$ref": "#/$defs/Item"}) | {"$defs": {"Item": LINE}},
        "",
        "",
    ),
    "a part that has itself in it": (
        {"$ref": "#/$defs/Box", "$defs": {"Box": of({"in": {"$ref": "#/$defs/Box"}}, ("in",))}},
        {"$ref": "#/$defs/Box", "$defs": {"Box": of({"in": {"$ref": "#/$defs/Box"}, "of": TEXT}, ("in", "of"))}},
        "",
        "",
    ),
}
VERDICTS = {(True, True): "FULL", (True, False): "BACKWARD", (False, True): "FORWARD", (False, False): "BREAKING"}

each_change = pytest.mark.parametrize(
    ("old", "new", "of_old", "of_new"), list(CHANGES.values()), ids=[name.replace(" ", "-") for name in CHANGES]
)


@each_change
def test_a_change_is_judged_from_both_sides(old: Any, new: Any, of_old: str, of_new: str) -> None:
    found = compare(old, new)
    for gaps, expected in ((found.backward, of_old), (found.forward, of_new)):
        assert [str(gap) for gap in gaps if str(gap).startswith(expected)] == list(map(str, gaps))
        assert bool(gaps) == bool(expected)
    assert found.verdict == VERDICTS[not of_old, not of_new]


@each_change
def test_the_way_back_is_the_same_change_seen_from_the_other_side(old: Any, new: Any, of_old: str, of_new: str) -> None:
    # What only whoever reads by the published schema misses is no matter the other way round, and the reverse.
    one_way = ("is not written any more", "left out it means")
    ahead, back = compare(old, new), compare(new, old)
    for gaps, others in ((ahead.backward, back.forward), (ahead.forward, back.backward)):
        assert [gap for gap in gaps if not gap.why.startswith(one_way)] == [
            gap for gap in others if not gap.why.startswith(one_way)
        ]


#: Written by each side's schema, what no side may call understood that the other's validator refuses.
WRITTEN: list[Any] = [
    {}, {"one": "a"}, {"other": "a"}, {"it": "a", "more": "b"}, {"in": {}}, {"of": "a"},
    {"it": ""}, {"it": "a"}, {"it": "b"}, {"it": "c"}, {"it": "abcdefg"}, {"it": 0}, {"it": 1}, {"it": 2}, {"it": 10},
    {"it": 1.5}, {"it": None}, {"it": []}, {"it": ["a"]}, {"it": [1]}, {"it": {"a": "b"}}, {"it": {"a": 1}},
    {"it": {"sku": "a", "pieces": 1}}, {"it": {"sku": 1, "pieces": 1}},
    {"it": [{"sku": "a", "pieces": 1}]}, {"it": [{"sku": "a"}]},
]  # fmt: skip


@each_change
def test_a_second_validator_refuses_nothing_that_is_called_understood(
    old: Any, new: Any, of_old: str, of_new: str
) -> None:
    before, after = jsonschema_rs.validator_for(old), jsonschema_rs.validator_for(new)
    for writer, reader, schema, gap in ((before, after, old, of_old), (after, before, new, of_new)):
        ours = [each for each in WRITTEN if writer.is_valid(each) and set(each) <= set(schema.get("properties", each))]
        if not gap:
            assert [each for each in ours if not reader.is_valid(each)] == []
