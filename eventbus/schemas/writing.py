"""A contract as JSON Schema 2020-12: of the whole message body, with the contract's own part under `data`.

It says how the event is written. Readers are more patient: they pass over what they don't know.
"""

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from eventbus.conf import bus_settings
from eventbus.contracts.event import Envelope, Event
from eventbus.contracts.versions import major

DIALECT = "https://json-schema.org/draft/2020-12/schema"
BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}


class PlainJsonSchema(GenerateJsonSchema):
    """As pydantic writes it, but without a title for each field, and a Decimal is a number."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        # No multipleOf for the decimals: 19.99 / 0.0001 is no whole number to a validator that counts in floats.
        bounds: dict[str, Any] = dict(schema)
        return {"type": "number"} | {word: _plain(bounds[name]) for name, word in BOUNDS.items() if name in bounds}


def _plain(bound: Any) -> int | float:
    return int(bound) if bound == int(bound) else float(bound)


def schema_of(contract: type[Event]) -> dict[str, Any]:
    """The schema of a message body that carries an event of this contract, in this or a newer minor version."""
    envelope = Envelope.model_json_schema(schema_generator=PlainJsonSchema)
    data = contract.model_json_schema(schema_generator=PlainJsonSchema)
    own = envelope["properties"] | {
        "version": {"type": "string", "pattern": rf"^{major(contract.version)}\.[0-9]{{1,6}}$"},
        "eventType": {"type": "string", "const": contract.type},
        "aggregateType": {"type": "string", "const": contract.aggregate_type},
        "data": data,
    }
    named = envelope.pop("$defs") | data.pop("$defs", {})
    # What the class is called in code is nobody's business.
    del data["title"]
    return {
        "$schema": DIALECT,
        "$id": f"{bus_settings.SCHEMA_URL}/{contract.type}/{contract.version}",
        "title": f"{contract.type} {contract.version}",
        "description": data.get("description", ""),
        "type": "object",
        "properties": own,
        "required": envelope["required"],
        "$defs": {name: named[name] for name in sorted(named)},
    }


def text_of(contract: type[Event]) -> str:
    """The schema as it stands in its file."""
    return json.dumps(schema_of(contract), indent=2, ensure_ascii=False) + "\n"
