"""Every answer other than success is a problem (RFC 9457), and every problem has the same form."""

import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Literal

import structlog
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.views import defaults
from pydantic import ValidationError
from rest_framework import exceptions

from eventbus import current_cause, encode_json

PROBLEM_JSON = "application/problem+json"
#: A body may be wrong in hundreds of places; nobody reads further than this.
MAX_ERRORS = 100

#: The parts of a request that may be invalid, and what the answer is then.
INVALID = {"query": HTTPStatus.BAD_REQUEST, "body": HTTPStatus.UNPROCESSABLE_ENTITY}

log = structlog.get_logger(__name__)


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


def invalid(part: Literal["query", "body"], errors: Sequence[Mapping[str, str]]) -> Problem:
    """The problem that lists what is wrong with this part of what the client sent: 400 for a query, 422 for a body."""
    detail = f"The {part} is not valid: `errors` says where."
    return Problem(INVALID[part], detail, kind="invalid", errors=errors[:MAX_ERRORS])


@contextmanager
def validating(part: Literal["query", "body"]) -> Iterator[None]:
    """Turns the ValidationError of a pydantic model into the problem that points to everything wrong with this part."""
    try:
        yield
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise invalid(part, [wrong(to_pointer(e["loc"]), e["type"], e["msg"]) for e in found]) from None


def to_pointer(location: Iterable[str | int]) -> str:
    """A place in a JSON text as a JSON pointer (RFC 6901). A name of the client's is shown only as far as it prints."""
    steps = (str(step).encode("utf-8", "replace").decode()[:64] for step in location)
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


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
        case exceptions.APIException():
            return Problem(error.status_code, str(error.detail), headers=_drf_headers(error))
    # No message and no locals: they may hold what a customer sent.
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("request.failed", error=type(error).__qualname__, sqlstate=_sqlstate(error), frames=frames)
    return Problem(500, "Something went wrong here. Tell us the correlation id.")


def _sqlstate(error: Exception) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)


def _drf_headers(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
    if auth_header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = auth_header
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(wait)
    return headers


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
