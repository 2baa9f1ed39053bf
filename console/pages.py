"""What all pages share: who may come in, the frame around a page, and its live part."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import structlog
from django.contrib.auth.views import redirect_to_login
from django.core.cache import cache
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.middleware.http import ConditionalGetMiddleware
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_http_methods

from console.access import demand
from console.navigation import navigation

log = structlog.get_logger(__name__)

View = Callable[..., HttpResponse]

#: Everything comes from here, and nothing stands in the page itself: what a customer wrote can't become a script.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: By it the page's own script asks for the live part alone.
LIVE = "X-Live"
#: Seconds.
SHARED_FOR = 2
#: What people choose of the look, kept in cookies that their browser reads too.
CHOICES = {"theme": ("system", "light", "dark"), "times": ("relative", "local", "utc")}


def page(*permissions: str, methods: tuple[str, ...] = ("GET", "HEAD")) -> Callable[[View], View]:
    """A page for staff who have these permissions; others are asked to log in, or told who could."""

    def declare(view: View) -> View:
        @require_http_methods(list(methods))
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            def answer() -> HttpResponse:
                if not (request.user.is_authenticated and request.user.is_staff):
                    return redirect_to_login(request.get_full_path(), "console:login")
                for permission in permissions:
                    demand(request, permission)
                return framed(view(request, *args, **kwargs))

            return while_database_answers(request, answer)

        return guarded

    return declare


def while_database_answers(request: HttpRequest, answer: Callable[[], HttpResponse]) -> HttpResponse:
    """The answer, or 503. What is only read is read again: a connection that a restart of the server has broken is
    noticed by whoever uses it next."""
    for is_last in (request.method not in ("GET", "HEAD"), True):
        try:
            return answer()
        except (OperationalError, InterfaceError) as error:
            connection.close()
            log.error("database.unavailable", error=type(error).__name__)
            if is_last:
                break
    response = render(request, "503.html", status=503)
    response.headers["Retry-After"] = "1"
    return framed(response)


def framed(response: HttpResponse) -> HttpResponse:
    """The response with what no cache and no foreign script may do with it."""
    response.headers.setdefault("Content-Security-Policy", POLICY)
    patch_cache_control(response, private=True, no_cache=True)
    return response


def show(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    """A page with navigation."""
    return render(request, f"console/{template}.html", context | navigation(request))


def show_live(request: HttpRequest, template: str, part: str, **context: Any) -> HttpResponse:
    """A page of which a part stays up to date: who asks for that part gets it alone, and 304 while it is the same."""
    if LIVE not in request.headers:
        return show(request, template, part=f"console/parts/{part}.html", **context)
    return _unless_unchanged(request, render(request, f"console/parts/{part}.html", context))


def show_shared(
    request: HttpRequest, template: str, part: str, key: str, read: Callable[[], Mapping[str, Any]]
) -> HttpResponse:
    """show_live() for a part that is the same for all who look: it is made once in two seconds, however many do."""
    if LIVE not in request.headers:
        return show_live(request, template, part, **read())
    kept = f"console:{part}:{key}"
    html = cache.get(kept)
    if html is None:
        html = render_to_string(f"console/parts/{part}.html", {**read()}, request)
        cache.set(kept, html, SHARED_FOR)
    return _unless_unchanged(request, HttpResponse(html))


def _unless_unchanged(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """304 for who has it already."""
    middleware: Any = ConditionalGetMiddleware(lambda _: response)
    answered: HttpResponse = middleware(request)
    return answered


def choices(request: HttpRequest) -> Mapping[str, str]:
    """For every template: what this person has chosen of the look. What a cookie says besides is not believed."""
    return {
        name: chosen if (chosen := request.COOKIES.get(name, "")) in known else known[0]
        for name, known in CHOICES.items()
    }
