"""One id for all that a request causes: the caller's or a fresh one, on every log line, event and answer."""

import re
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse
from django.http.request import HttpHeaders

from eventbus.ids import new_id
from eventbus.recording.context import Cause, caused_by

HEADER = "x-correlation-id"
#: A caller's id goes into logs and headers: printable, short, and nothing that could end a line.
ACCEPTED = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")

# `request.headers` would name all headers anew to find one.
_IN_META = HttpHeaders.to_wsgi_name(HEADER)

log = structlog.get_logger(__name__)


class CorrelationMiddleware:
    """Runs a request under its correlation id and logs one line about it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.META.get(_IN_META, "")
        correlation_id = given if ACCEPTED.fullmatch(given) else str(new_id())
        with caused_by(Cause(correlation_id)):
            response = self.get_response(request)
            log.info("request", method=request.method, path=request.path, status=response.status_code)
        response.headers[HEADER] = correlation_id
        return response
