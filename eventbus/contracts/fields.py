"""Types of fields that a contract may name: what they hold can be stored, and written on a line."""

import re
from datetime import UTC, date, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_FULL_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# The same for readers of JSON Schema, who may not look at `format`.
_MOMENT = {"type": "string", "format": "date-time", "pattern": f"^{_RFC_3339.pattern}$".replace(r"\d", "[0-9]")}
_DAY = {"type": "string", "format": "date", "pattern": f"^{_FULL_DATE.pattern}$".replace(r"\d", "[0-9]")}
# Of the variant that RFC 9562 describes: nil and max are of none.
_UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){2}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$"
_NAMED = {"type": "string", "format": "uuid", "pattern": _UUID}


def _written_out(value: object) -> object:
    # pydantic would take seconds since 1970 as well, and guess at what is left out.
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC_3339.fullmatch(value)):
        return value
    raise PydanticCustomError("moment", "Not a moment as RFC 3339 writes it, with a time zone.")


def _a_day(value: object) -> object:
    # The same of a day; a datetime is a date to Python.
    if type(value) is date or (isinstance(value, str) and _FULL_DATE.fullmatch(value)):
        return value
    raise PydanticCustomError("day", "Not a day as RFC 3339 writes it, such as 2026-02-01.")


def _a_number(value: object) -> object:
    # pydantic would take text as well; and a bool is an int to Python.
    if isinstance(value, str | bool):
        raise PydanticCustomError("number", "Not a number.")
    return value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("moment", "Not a moment of the calendar in UTC.") from None


def _not_a_limit(value: UUID) -> UUID:
    # The nil and the max UUID are of no version.
    if value.version is None:
        raise PydanticCustomError("uuid", "Not a UUID that names anything.")
    return value


#: Text on one line: no line breaks or other control characters, which could end a header and hide things.
Line = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$")]
#: A moment with a time zone, in UTC once it is read. On the wire it is text as in RFC 3339.
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc), WithJsonSchema(_MOMENT)]
#: A day, on the wire as in 2026-02-01.
Day = Annotated[date, BeforeValidator(_a_day), WithJsonSchema(_DAY)]
#: A whole number that is written as one: not "1", not 1.0, not true.
Whole = Annotated[int, Field(strict=True)]
#: A UUID that is neither nil nor max.
Named = Annotated[UUID, AfterValidator(_not_a_limit), WithJsonSchema(_NAMED)]
#: Behind a Decimal and its bounds: on the wire it is a JSON number, and never text.
OnlyNumbers = BeforeValidator(_a_number)
