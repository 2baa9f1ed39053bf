"""Probes for load balancers and scripts."""

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse


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
