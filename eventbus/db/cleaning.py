"""What PostgreSQL takes of what anybody may have written."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

MAX_TEXT = 20_000


def clean(value: Any) -> str:
    """Text that PostgreSQL takes: no NUL, no half characters, and not without end."""
    if value is None:
        return ""
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text[:MAX_TEXT].replace("\x00", "�").encode(errors="replace").decode()


def clean_json(value: Any, depth: int = 0) -> Any:
    """A header's value as JSON that PostgreSQL takes."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)
    if depth < 8 and isinstance(value, Mapping):
        return {clean(name): clean_json(each, depth + 1) for name, each in value.items()}
    if depth < 8 and isinstance(value, list | tuple):
        return [clean_json(each, depth + 1) for each in value]
    return clean(value.isoformat() if isinstance(value, datetime) else value)
