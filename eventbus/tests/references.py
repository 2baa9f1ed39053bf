"""References in a JSON document (`$ref`), and where they lead."""

from collections.abc import Iterator
from typing import Any


def references(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        yield from ([document["$ref"]] if isinstance(document.get("$ref"), str) else [])
        for each in document.values():
            yield from references(each)
    elif isinstance(document, list):
        for each in document:
            yield from references(each)


def at(document: Any, reference: str) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        document = document[step]
    return document
