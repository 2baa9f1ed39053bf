"""What is told of an error, in logs, dead letters and Flower: without what the event says, which may be personal.

Handlers put values into their errors, and so do libraries. UUIDs and the aggregate's id stay: without them nobody finds
anything.
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from eventbus.contracts.event import Event

_E_MAIL = re.compile(r"[^\s<>'\"(),;:\\\[\]]+@[^\s<>'\"(),;:\\\[\]]+")
#: One letter says nothing, and would be found in every word.
_SHORTEST = 2


def told(text: str, *said: bytes | str | Event) -> str:
    """The text, with the name of its field in place of each value that stands in the data of these events, or of these
    message bodies, and without e-mail addresses."""
    lower = text.lower()
    values = {pair for each in said for pair in _values(*_read(each)) if pair[0].lower() in lower}
    for value, name in sorted(values, key=lambda pair: -len(pair[0])):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", f"[{name}]", text, flags=re.IGNORECASE)
    return _E_MAIL.sub("[e-mail]", text)


def _read(said: bytes | str | Event) -> tuple[Any, Any]:
    """The data, as far as they are JSON at all, and the aggregate's id."""
    if isinstance(said, Event):
        return said.envelope.data, said.aggregate_id
    try:
        raw = json.loads(said)
    except (ValueError, RecursionError):
        return None, None
    return (raw.get("data", raw), raw.get("aggregateId")) if isinstance(raw, dict) else (raw, None)


def _values(data: Any, aggregate_id: Any) -> Iterator[tuple[str, str]]:
    """The values, as they are and as Python or JSON writes them, with their fields."""
    rest: list[tuple[Any, str]] = [(data, "value")]
    while rest:
        match rest.pop():
            case dict() as fields, _:
                rest += [(each, field) for field, each in fields.items()]
            case list() as items, name:
                rest += [(each, name) for each in items]
            case str() as text, name if text != aggregate_id and len(text) >= _SHORTEST and not _is_uuid(text):
                yield from ((form, name) for form in (text, *_written(text)))


def _written(text: str) -> list[str]:
    return [form[1:-1] for form in (repr(text), json.dumps(text), json.dumps(text, ensure_ascii=False))]


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
