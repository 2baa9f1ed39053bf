"""What the apps' REST APIs share."""

import re
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from rest_framework import exceptions
from rest_framework.request import Request

M = TypeVar("M", bound=BaseModel)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_KEY = re.compile(r"[\x20-\x7e]{1,255}")


class Refusal(exceptions.APIException):
    """An answer other than success. `kind` names the problem where its status does not say all; `wait`: seconds after
    which to try again."""

    def __init__(self, status: int, detail: str, *, kind: str = "", wait: int | None = None) -> None:
        super().__init__(detail)
        self.status_code = status
        self.kind = kind
        self.wait = wait


def by_field(error: ValidationError) -> dict[str, list[exceptions.ErrorDetail]]:
    """What is wrong with a body, by field, for the project's exception handler."""
    found: dict[str, list[exceptions.ErrorDetail]] = {}
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(each["loc"][0]) if each["loc"] else "non_field_errors"
        found.setdefault(name, []).append(exceptions.ErrorDetail(each["msg"], code=each["type"]))
    return found


def asked(model: type[M], request: Request) -> M:
    """The query of a request as this model. Raises a ParseError that says in words what is wrong with it."""
    try:
        return model.model_validate(request.query_params.dict())
    except ValidationError as error:
        words = (f"{'.'.join(map(str, each['loc'])) or 'query'}: {each['msg']}." for each in error.errors())
        raise exceptions.ParseError(" ".join(words)) from None


def check_key(key: str | None) -> str | None:
    """The Idempotency-Key of a request, if it has one. Raises a Refusal with status 400."""
    if key is not None and not _KEY.fullmatch(key):
        raise Refusal(
            400, "An Idempotency-Key has 1 to 255 printable ASCII characters.", kind="idempotency-key-invalid"
        )
    return key


def _rfc3339(text: str) -> str:
    # pydantic would take seconds since 1970 as well, and guess at what is left out.
    if not _RFC3339.fullmatch(text):
        raise ValueError("write a moment like 2026-02-01T00:00:00Z")
    return text


def _has_been(moment: datetime) -> datetime:
    if moment > datetime.now(UTC):
        raise ValueError("is still to come: ask for a moment in the past")
    # Nothing happened before 1970, and years before the first have no UTC in Python.
    return max(moment, EPOCH).astimezone(UTC)


Moment = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]


class PointInTime(BaseModel):
    """The query of what can be asked for as it was."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    as_of: Annotated[Moment, AfterValidator(_has_been)] | None = None
