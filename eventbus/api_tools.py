"""What the apps' REST APIs share."""

from pydantic import ValidationError
from rest_framework import exceptions


def by_field(error: ValidationError) -> dict[str, list[exceptions.ErrorDetail]]:
    """What is wrong with a body, by field, for the project's exception handler."""
    found: dict[str, list[exceptions.ErrorDetail]] = {}
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(each["loc"][0]) if each["loc"] else "non_field_errors"
        found.setdefault(name, []).append(exceptions.ErrorDetail(each["msg"], code=each["type"]))
    return found


def in_words(error: ValidationError) -> str:
    """What is wrong with a query, in a sentence or more."""
    return " ".join(f"{'.'.join(map(str, each['loc'])) or 'query'}: {each['msg']}." for each in error.errors())
