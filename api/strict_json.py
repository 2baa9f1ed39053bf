"""Strict JSON in, exact JSON out."""

import json
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from api.problems import Problem
from eventbus import UnsafeJSON, decode_json, encode_json

MEDIA_TYPE = "application/json"


def loads(body: bytes) -> Any:
    """Strict JSON: UTF-8, no name twice in an object, no NaN, numbers exact. Raises a Problem with status 400."""
    try:
        return decode_json(body)
    except RecursionError:
        raise Problem(400, "The body is nested too deeply.", kind="not-json") from None
    # ArithmeticError: a number with an exponent that no Decimal has.
    except (ValueError, ArithmeticError) as error:
        raise Problem(400, f"The body is not JSON: {_reason(error)}", kind="not-json") from None


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}."
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8."
    return str(error) if isinstance(error, UnsafeJSON) else "a number is too long."


def read_json(request: Request, *, optional: bool = False) -> Any:
    """The body of a request; `{}` for a missing one that is optional. Raises a Problem: 413, 415 or 400."""
    body = _body(request)
    if optional and not body:
        return {}
    media_type, _, parameters = request.content_type.partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media_type.strip().lower() != MEDIA_TYPE or charset not in ("", "charset=utf-8"):
        raise Problem(415, "Send application/json, in UTF-8.", headers={"Accept": MEDIA_TYPE})
    if request.META.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise Problem(415, "Send the body uncompressed.", headers={"Accept-Encoding": "identity"})
    return loads(body)


def _body(request: Request) -> bytes:
    if "chunked" not in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        return bytes(request.body)
    # Django reads as far as Content-Length says, and a chunked body has none.
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    body: bytes = request.META["wsgi.input"].read(limit + 1)
    if len(body) > limit:
        raise RequestDataTooBig
    return body


class StrictJSONParser(BaseParser):
    """For `request.data`. It hands chunked bodies to nobody, so our own views call `read_json`."""

    media_type = MEDIA_TYPE

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return read_json(parser_context["request"])


class JSONRenderer(BaseRenderer):
    """DRF's way out. Decimals become JSON numbers with the digits that they have."""

    media_type = MEDIA_TYPE
    format = "json"
    charset = None
    render_style = "binary"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else encode_json(data)
