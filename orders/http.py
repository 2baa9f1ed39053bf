"""HTTP as the API speaks it: strict JSON in, exact JSON out, and every error as a problem (RFC 9457)."""

import json
import traceback
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from http import HTTPStatus
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.views import defaults
from pydantic import BaseModel, ValidationError
from rest_framework import exceptions
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from eventbus import current_cause, encode_json
from eventbus.contracts.exact_json import MAX_EXPONENT

PROBLEM_JSON = "application/problem+json"
#: A body may be wrong in hundreds of places; nobody reads further than this.
MAX_ERRORS = 100

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=BaseModel)


class Problem(exceptions.APIException):
    """An answer other than success. `kind` names the problem where its status does not say all."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str = "",
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status_code = status
        self.kind = kind
        self.errors = errors
        self.headers = headers or {}


def wrong(pointer: str, code: str, detail: str) -> dict[str, str]:
    """An entry of a problem's `errors`."""
    return {"pointer": pointer, "code": code, "detail": detail}


def invalid(errors: Sequence[Mapping[str, str]], *, status: int = 422) -> Problem:
    """The problem that lists what is wrong with what the client sent."""
    what = "query" if status == HTTPStatus.BAD_REQUEST else "body"
    return Problem(status, f"The {what} is not valid: `errors` says where.", kind="invalid", errors=errors)


def validated(model: type[M], data: object, *, status: int = 422, context: object = None) -> M:
    """The data as this model. Raises a Problem that points to everything wrong with it."""
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_ERRORS]
        raise invalid([wrong(to_pointer(e["loc"]), e["type"], e["msg"]) for e in found], status=status) from None


def to_pointer(location: Iterable[str | int]) -> str:
    """A place in a JSON text as a JSON pointer (RFC 6901). A name of the client's is shown only as far as it prints."""
    steps = (str(step).encode("utf-8", "replace").decode()[:64] for step in location)
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


class Refused(ValueError):
    """JSON that its grammar allows, or Python's parser does, and we don't."""


def loads(body: bytes) -> Any:
    """Strict JSON: UTF-8, no name twice in an object, no NaN, numbers exact. Raises a Problem with status 400."""
    try:
        return json.loads(
            body.decode(), parse_float=_number, parse_constant=_refuse_constant, object_pairs_hook=_object
        )
    except RecursionError:
        raise Problem(400, "The body is nested too deeply.", kind="not-json") from None
    # ArithmeticError: a number with an exponent that no Decimal has.
    except (ValueError, ArithmeticError) as error:
        raise Problem(400, f"The body is not JSON: {_reason(error)}", kind="not-json") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refused("a name occurs twice in one object.")
    return found


def _number(text: str) -> Decimal:
    number = Decimal(text)
    # Whoever makes an integer of 1E+999999999 writes out its zeros.
    if abs(number.adjusted()) > MAX_EXPONENT:
        raise Refused("a number has too large an exponent.")
    return number


def _refuse_constant(name: str) -> None:
    raise Refused(f"{name} is no JSON number.")


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}."
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8."
    return str(error) if isinstance(error, Refused) else "a number is too long."


def read_json(request: Request) -> Any:
    """The body of a request that must have one. Raises a Problem: 415, 413 or 400."""
    media_type, _, parameters = request.content_type.partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media_type.strip().lower() != StrictJSONParser.media_type or charset not in ("", "charset=utf-8"):
        raise Problem(415, "Send application/json, in UTF-8.", headers={"Accept": StrictJSONParser.media_type})
    if request.META.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise Problem(415, "Send the body uncompressed.", headers={"Accept-Encoding": "identity"})
    return loads(_body(request))


def _body(request: Request) -> bytes:
    if "chunked" not in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        return request.body
    # Django reads as far as Content-Length says, and a chunked body has none.
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    body: bytes = request.META["wsgi.input"].read(limit + 1)
    if len(body) > limit:
        raise RequestDataTooBig
    return body


class StrictJSONParser(BaseParser):
    """DRF's way in. `loads` says what it refuses."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return loads(stream.body if isinstance(stream, HttpRequest) else stream.read())


class JSONRenderer(BaseRenderer):
    """DRF's way out. Decimals become JSON numbers with the digits that they have."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else encode_json(data)


def to_response(problem: Problem) -> HttpResponse:
    """The problem as it goes to the client."""
    status = HTTPStatus(problem.status_code)
    body: dict[str, Any] = {
        "type": f"urn:problem-type:order-pipeline:{problem.kind}" if problem.kind else "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": str(problem.detail),
        "correlationId": current_cause().correlation_id,
    }
    if problem.errors:
        body["errors"] = problem.errors
    return HttpResponse(encode_json(body), status=status, content_type=PROBLEM_JSON, headers=dict(problem.headers))


def problem_response(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """DRF's exception handler: whatever went wrong, the client gets a problem, and never an insight into the server."""
    return to_response(error if isinstance(error, Problem) else _as_problem(error))


def _as_problem(error: Exception) -> Problem:
    match error:
        case RequestDataTooBig():
            return Problem(413, f"The body is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes.")
        case SuspiciousOperation() | UnreadablePostError():
            return Problem(400, "The request cannot be read.")
        case Http404():
            return Problem(404, "There is nothing here, or it is not yours.")
        case PermissionDenied():
            return Problem(403, "Your token does not allow this.")
        # InternalError: among others, a server that only reads, as a standby does until it takes over.
        case OperationalError() | InterfaceError() | InternalError():
            log.error("database.unavailable", error=type(error).__name__, sqlstate=_sqlstate(error))
            return Problem(503, "The database does not answer. Try again.", headers={"Retry-After": "1"})
        case exceptions.ValidationError():
            return invalid(list(_drf_errors(error.detail, ()))[:MAX_ERRORS])
        case exceptions.APIException():
            kind = getattr(error, "kind", "")
            return Problem(error.status_code, _first_line(error.detail), kind=kind, headers=_drf_headers(error))
    # No message and no locals: they may hold what a customer sent.
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("request.failed", error=type(error).__qualname__, sqlstate=_sqlstate(error), frames=frames)
    return Problem(500, "Something went wrong here. Tell us the correlation id.")


def _sqlstate(error: Exception) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)


def _drf_errors(detail: Any, location: tuple[str | int, ...]) -> Iterable[dict[str, str]]:
    """A serializer's errors, which are nested like the data, as a flat list."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            yield from _drf_errors(inner, location if name == "non_field_errors" else (*location, name))
    elif isinstance(detail, list):
        for place, inner in enumerate(detail):
            yield from _drf_errors(inner, (*location, place) if isinstance(inner, dict) and inner else location)
    else:
        yield wrong(to_pointer(location), getattr(detail, "code", "invalid"), str(detail))


def _drf_headers(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
    if auth_header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait) + 1)
    return headers


def _first_line(detail: Any) -> str:
    while isinstance(detail, (dict, list)):
        detail = next(iter(detail.values() if isinstance(detail, dict) else detail), "")
    return str(detail)


def _is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400."""
    return problem_response(exception, {}) if _is_api(request) else defaults.bad_request(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404."""
    return problem_response(exception, {}) if _is_api(request) else defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500: what went wrong outside of a view, where the exception handler is not asked."""
    if not _is_api(request):
        return defaults.server_error(request)
    return to_response(Problem(500, "Something went wrong here. Tell us the correlation id."))
