"""Types of fields that occur in queries and bodies alike."""

import re
from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, TypeAdapter, WithJsonSchema
from pydantic_core import PydanticCustomError

from eventbus import database_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The days that can be asked for. Nothing happened before, and Python's calendar ends soon after.
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(9998, 12, 31)

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:(\.\d{1,6})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
#: No line breaks or other control characters, which could end a mail's header and hide things.
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"


def _to_moment(value: object) -> str:
    # pydantic would take seconds since 1970 as well, and guess at what is left out. RFC 3339 sets no limit to the
    # digits of a second; a datetime ends at microseconds.
    found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise PydanticCustomError("moment", "Write a moment like 2026-02-01T00:00:00Z.")
    return "".join(found.groups(""))


def _to_day(value: object) -> date:
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise PydanticCustomError("day", "Write a day like 2026-02-01.")


def to_day_of(value: object) -> date:
    """A day, or the day of a moment as it is written, whatever its time zone."""
    if isinstance(value, str) and len(value) > len("2026-02-01"):
        return _moments.validate_python(value).date()
    return _to_day(value)


def _has_been(moment: datetime) -> datetime:
    if moment > database_time():
        raise PydanticCustomError("still_to_come", "Ask for a moment that has been.")
    # Nothing happened before 1970, and years before the first have no UTC in Python.
    return max(moment, EPOCH).astimezone(UTC)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Not only spaces.")
    return text


#: A moment as RFC 3339 writes it, with a time zone.
Moment = Annotated[AwareDatetime, BeforeValidator(_to_moment)]
_moments = TypeAdapter(Moment)
#: A moment until now, in UTC; those before 1970 become its beginning.
PastMoment = Annotated[Moment, AfterValidator(_has_been)]
#: A day as RFC 3339 writes it, if it can be asked for.
Day = Annotated[
    date,
    BeforeValidator(_to_day),
    Field(ge=FIRST_DAY, le=LAST_DAY),
    # JSON Schema has no bounds for days.
    WithJsonSchema({"type": "string", "format": "date"}),
]
#: Something that can be read, on one line.
Line = Annotated[str, Field(min_length=1, pattern=_PRINTABLE), AfterValidator(_not_blank)]
