"""What staff see instead of a page."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from console.access import NotAllowed, who_could
from console.pages import framed


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler403: what it takes, and who has it."""
    context = {}
    if isinstance(exception, NotAllowed):
        context = {"permission": exception.permission, "who_could": who_could(exception.permission)}
    return framed(render(request, "403.html", context, status=403))
