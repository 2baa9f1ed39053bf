"""Who tries passwords or tokens waits for longer and longer, however many are tried at once.

Each try takes a token from a bucket before the password is looked at, and gets it back if the password was right: so of
twenty at the same moment no more are looked at than one after the other.
"""

from collections.abc import Callable
from hashlib import sha256
from math import ceil
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from rest_framework.request import Request

from api.buckets import Rate, Shares, give_back, take_one
from api.problems import Problem

MINUTE = 60.0
#: Tries of one account from one address; from one address; and of one account, from anywhere.
ONE_FROM_ONE = Rate(5 / (15 * MINUTE), 5)
FROM_ONE = Rate(20 / (15 * MINUTE), 20)
OF_ONE = Rate(50 / (15 * MINUTE), 50)
WRONG_TOKENS = Rate(20 / (15 * MINUTE), 20)
#: What the keys of these buckets begin with.
LOGIN, TOKEN = "login", "token"

log = structlog.get_logger(__name__)
_shares = Shares()


class LockedOut(Exception):
    """Too many wrong passwords. `retry_after` in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many tries: again in {retry_after} seconds.")
        self.retry_after = retry_after


class GuardedBackend(ModelBackend):
    """Django's own, for who has not tried too often. Raises LockedOut."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> Any:
        if username is None or password is None:
            return None
        taken = _take(username, client_of(request) if request else "")
        user = super().authenticate(request, username, password, **kwargs)
        if user is not None:
            for key in taken:
                give_back(key)
        return user


def _take(username: str, client: str) -> list[str]:
    """The buckets that this try took a token of. Raises LockedOut, and leaves them as they were."""
    # Some type their password where the name belongs.
    account = sha256(username.lower().encode()).hexdigest()
    buckets = {
        f"{LOGIN}:{account}@{client}": ONE_FROM_ONE,
        f"{LOGIN}:@{client}": FROM_ONE,
        f"{LOGIN}:{account}": OF_ONE,
    }
    taken: list[str] = []
    for key, rate in buckets.items():
        one = take_one(key, rate)
        if not one.granted:
            for each in taken:
                give_back(each)
            log.warning("login.locked_out", client=client, retry_after=one.retry_after)
            raise LockedOut(one.retry_after)
        taken.append(key)
    return taken


def note_wrong_token(request: Request) -> None:
    """Raises a Problem with status 429 for who shows too many."""
    client = client_of(request._request)
    taken = _shares.take(f"{TOKEN}:{client}", WRONG_TOKENS)
    if not taken.granted:
        log.warning("token.locked_out", client=client, retry_after=taken.retry_after)
        raise Problem(429, "Too many wrong tokens from here.", headers={"Retry-After": str(taken.retry_after)})


def client_of(request: HttpRequest) -> str:
    """Whose address it is; that of a gateway's client where there is a gateway, which says so last."""
    told: str = request.META.get("HTTP_X_FORWARDED_FOR", "") if settings.SECURE_PROXY_SSL_HEADER else ""
    return told.rpartition(",")[2].strip() or request.META.get("REMOTE_ADDR", "")


class LockoutMiddleware:
    """Answers LockedOut with a page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, LockedOut):
            return None
        page = render(request, "api/locked_out.html", {"minutes": ceil(exception.retry_after / MINUTE)}, status=429)
        page.headers["Retry-After"] = str(exception.retry_after)
        return page
