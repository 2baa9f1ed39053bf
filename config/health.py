"""Probes for load balancers, scripts and Prometheus."""

from collections.abc import Callable

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from api.metrics import scrape


def live(request: HttpRequest) -> HttpResponse:
    """The process answers. Says nothing of the servers it needs."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> HttpResponse:
    """Orders can be taken: the database answers. The broker is not needed for that, so it is not asked."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse(
            {"status": "unavailable", "database": "no answer"}, status=503, headers={"Retry-After": "1"}
        )
    return JsonResponse({"status": "ok"})


PROBES = {"/health/live": live, "/health/ready": ready, "/metrics": scrape}


class ProbesMiddleware:
    """Answers probes before anything else looks at the request: who asks knows neither host name nor TLS, and asks so
    often that a log line for each would hide the others."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return PROBES.get(request.path_info, self.get_response)(request)
