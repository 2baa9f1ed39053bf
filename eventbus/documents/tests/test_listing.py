"""The catalogue: made of the declarations and of what is published."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from eventbus.contracts.event import Event
from eventbus.declaration import consumer
from eventbus.documents import asyncapi, catalogue, fields_of, page_of
from eventbus.schemas.folder import example_file_of
from eventbus.testing.bus import on_the_wire
from eventbus.tests.samples import ParcelSent


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    settings.EVENTBUS_SCHEMA_DIR = tmp_path / "schemas"
    return tmp_path / "schemas"


def export() -> None:
    call_command("export_schemas", stdout=StringIO())


def test_an_event_has_its_publisher_its_keys_and_who_receives_it() -> None:
    export()

    @consumer("parcel.weigh_it", on=[ParcelSent])
    def weigh_it(event: ParcelSent) -> None:
        """Puts it on the scales."""

    [told] = [each for each in catalogue() if each.type == ParcelSent.type]
    assert (told.meaning, told.publisher, told.versions) == ("A parcel left the house.", "eventbus", ["1.0"])
    assert told.routing_keys == ["parcel.sent.v1"]
    [listener] = [each for each in told.listeners if each.name == "parcel.weigh_it"]
    assert (listener.meaning, listener.keys) == ("Puts it on the scales.", ["parcel.sent.v1"])


def test_an_example_is_shown_on_its_page_and_in_the_document() -> None:
    export()
    body = json.loads(on_the_wire(ParcelSent(parcel_id="p-1")))
    example_file_of("parcel.sent", "1.0").write_text(json.dumps(body))
    page: Any = page_of("parcel.sent")
    assert page.example == body
    assert asyncapi()["components"]["messages"]["parcel.sent-1.0"]["examples"] == [{"payload": body}]


def test_what_differs_between_two_versions_is_told_field_by_field() -> None:
    export()

    class ParcelSentTwo(Event, type="parcel.sent", version="2.0", aggregate="parcel_id"):
        """The next one."""

        parcel_id: str
        weight: int

        carrier: str | None = None

    export()
    page: Any = page_of("parcel.sent")
    assert (page.version, page.superseded_by) == ("2.0", "")
    [change] = page.changes
    assert (change.since, change.to, change.verdict) == ("1.0", "2.0", "BREAKING")
    assert [each.path for each in change.added] == ["data.carrier"]
    assert "data.lines" in [each.path for each in change.removed]
    assert [after.path for _, after in change.changed] == ["data.weight"]
    older: Any = page_of("parcel.sent", "1.0")
    assert older.superseded_by == "2.0"


def test_what_is_not_published_has_no_page() -> None:
    assert page_of("parcel.sent") is None
    export()
    assert page_of("parcel.sent", "../1.0") is None
    assert page_of("parcel.eaten") is None


def test_fields_are_told_in_words() -> None:
    root = {"parts": {"Line": {"type": "object", "properties": {"count": {"type": "integer", "minimum": 1}}}}}
    told = {
        "required": ["lines"],
        "properties": {
            "lines": {
                "type": "array",
                "minItems": 1,
                "items": {"$ref": "#/parts/Line"},
                "description": "What is in it.",
            },
            "name": {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 9}, {"type": "null"}]},
            "kind": {"enum": ["a", "b"]},
            "at": {"type": "string", "format": "date-time"},
            "share": {"type": "number", "minimum": 0, "exclusiveMaximum": 1000},
            "level": {"type": "integer", "minimum": 1, "maximum": 5},
        },
    }
    assert [(each.path, each.holds, each.required) for each in fields_of(told, root)] == [
        ("lines", "list, at least 1", True),
        ("lines[].count", "whole number ≥ 1", False),
        ("name", "text, 1 to 9 characters or null", False),
        ("kind", "one of a, b", False),
        ("at", "moment", False),
        ("share", "number ≥ 0 and < 1,000", False),
        ("level", "whole number, 1 to 5", False),
    ]


def test_what_holds_itself_comes_to_an_end() -> None:
    root: Any = {"parts": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/parts/Node"}}}}}
    assert len(list(fields_of(root["parts"]["Node"], root))) < 10
