"""Metrics of requests, and where Prometheus reads all of them."""

from collections.abc import Callable
from secrets import compare_digest
from time import monotonic

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse

from api.problems import Problem, problem_response
from eventbus import counter, histogram
from eventbus.pipeline import METRICS_CONTENT_TYPE, metrics

REQUESTS = counter(
    "http_requests_total", "Requests that were answered, by the name of their address.", "method", "view", "status"
)
SECONDS = histogram("http_request_seconds", "From a request, when it is there whole, to its answer.", "view")
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class RequestMetricsMiddleware:
    """Counts requests. Whatever a stranger sends, there are only so many series: neither paths nor made-up methods."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = monotonic()
        response = self.get_response(request)
        match = request.resolver_match
        view = match.view_name if match is not None and match.view_name else "none"
        method = request.method if request.method in METHODS else "OTHER"
        REQUESTS.add(1, str(method), view, str(response.status_code))
        SECONDS.observe(monotonic() - began, view)
        return response


def scrape(request: HttpRequest) -> HttpResponse:
    """Everything in Prometheus's text format, for who has METRICS_TOKEN. Where there is none, nobody has it."""
    try:
        _demand_token(request)
        return HttpResponse(metrics(), content_type=METRICS_CONTENT_TYPE, headers={"Cache-Control": "no-store"})
    except (Problem, DatabaseError, InterfaceError) as error:
        return problem_response(error, {})


def _demand_token(request: HttpRequest) -> None:
    if not settings.METRICS_TOKEN:
        raise Problem(404, "Metrics are off: set METRICS_TOKEN.")
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not compare_digest(given.encode(), settings.METRICS_TOKEN.encode()):
        raise Problem(401, "Send METRICS_TOKEN as a bearer token.", headers={"WWW-Authenticate": "Bearer"})
