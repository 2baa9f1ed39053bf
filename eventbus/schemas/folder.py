"""The published schemas: a file for each version of each contract, `<event type>/<version>.json`.

What a file says is never changed: whoever has a message looks up what it means. It goes when no event of that version
is archived any more, together with the class that reads it.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from eventbus.conf import bus_settings
from eventbus.contracts.versions import VERSION


def file_of(event_type: str, version: str) -> Path:
    """Where the schema of this version belongs."""
    folder: Path = bus_settings.SCHEMA_DIR
    return folder / event_type / f"{version}.json"


def published() -> list[tuple[str, str]]:
    """Type and version of every schema in the folder, the oldest version of each type first."""
    folder: Path = bus_settings.SCHEMA_DIR
    found = [(file.parent.name, file.stem) for file in folder.glob("*/*.json") if re.search(VERSION, file.stem)]
    return sorted(found, key=lambda each: (each[0], numbers(each[1])))


def load(event_type: str, version: str) -> dict[str, Any]:
    """A published schema. Raises OSError or ValueError where its file can't be read."""
    schema: dict[str, Any] = json.loads(file_of(event_type, version).read_bytes())
    return schema


def example_file_of(event_type: str, version: str) -> Path:
    """Where an example of this version belongs, a whole message: beside its schema."""
    return file_of(event_type, version).with_suffix(".example.json")


def example_of(event_type: str, version: str) -> Any:
    """An example of this version, as it stands in its file; None where there is none."""
    file = example_file_of(event_type, version)
    return json.loads(file.read_bytes()) if file.exists() else None


def published_schema(event_type: str, version: str) -> bytes | None:
    """A published schema as it stands in its file; None where there is none. A process reads the folder once."""
    return _contents(bus_settings.SCHEMA_DIR).get((event_type, version))


@cache
def _contents(folder: Path) -> Mapping[tuple[str, str], bytes]:
    return {(kind, version): (folder / kind / f"{version}.json").read_bytes() for kind, version in published()}


def numbers(version: str) -> tuple[int, ...]:
    """A version to sort by."""
    return tuple(map(int, version.split(".")))
