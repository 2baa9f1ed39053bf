"""Said twice, done once: the answer to a keyed request is kept with what it did, and a repeat gets it again."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from django.db import connection, transaction
from django.http import HttpResponse
from rest_framework.request import Request

from api.models import IdempotencyKey
from api.problems import Problem
from eventbus import acting_as, database_time, encode_json

KEY_LIFE = timedelta(hours=24)

_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, %s))"
_EARLIER = """
SELECT fingerprint, status, response FROM api_idempotencykey WHERE user_id = %s AND key = %s AND created_at > %s
"""
# An expired key is there until it is forgotten, and may be used again.
_KEEP = """
INSERT INTO api_idempotencykey (user_id, key, fingerprint, status, created_at, response)
SELECT %s, %s, %s, %s, %s, body::text FROM answer
ON CONFLICT (user_id, key) DO UPDATE SET fingerprint = EXCLUDED.fingerprint, status = EXCLUDED.status,
    created_at = EXCLUDED.created_at, response = EXCLUDED.response
"""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A request that may be repeated: whose it is, its key, and what tells it from any other request."""

    user_id: int
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as JSON text. `replayed`: it was given to an earlier request with the same key."""

    status: int
    body: str
    replayed: bool = False

    def as_response(self, **headers: str) -> HttpResponse:
        if self.replayed:
            headers["Idempotent-Replayed"] = "true"
        return HttpResponse(self.body, status=self.status, content_type="application/json", headers=headers)


def read_key(request: Request, asked: object) -> Keyed | None:
    """The request as one that may be repeated, if it has an Idempotency-Key. Raises a Problem with status 400.

    `asked` is all that the caller wants, beside what the address says.
    """
    # Not request.headers, which would name all headers anew to find one.
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        detail = "An Idempotency-Key has 1 to 255 printable ASCII characters."
        raise Problem(400, detail, kind="idempotency-key-invalid")
    # Not the path itself: an id may be written in more than one way.
    address: Any = request.resolver_match
    told = encode_json([request.method, address.route, address.kwargs, asked])
    user: Any = request.user
    return Keyed(user.pk, key, hashlib.sha256(told).digest())


def answer_once(
    request: Request, asked: object, act: Callable[[], Any], *, status: int = HTTPStatus.OK
) -> HttpResponse:
    """Act in the caller's name, and answer with what `act` returns; with a key once, however often it is asked.

    What `act` raises is passed on, and the key stays unused. Raises a Problem as `read_key` and `once` do.
    """
    keyed = read_key(request, asked)

    def acted() -> Answer:
        return Answer(status, encode_json(act()).decode())

    with acting_as(request.user.pk):
        given = acted() if keyed is None else once(keyed, lambda: _kept(keyed, acted()))
    return given.as_response()


def once(keyed: Keyed, act: Callable[[], Answer]) -> Answer:
    """The answer of `act`, which keeps it, or the one that an earlier request with this key got.

    Raises a Problem: 409 while the first is in flight, 422 if it asked for something else.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_LOCK, [keyed.key, keyed.user_id])
            if not cursor.fetchone()[0]:
                detail = "A request with this Idempotency-Key is in flight."
                raise Problem(409, detail, kind="idempotency-key-in-flight", headers={"Retry-After": "1"})
            # A statement of its own: this one sees what the lock's last holder committed, the one above may not.
            cursor.execute(_EARLIER, [keyed.user_id, keyed.key, database_time() - KEY_LIFE])
            earlier = cursor.fetchone()
        if earlier is None:
            return act()
    fingerprint, status, body = earlier
    if bytes(fingerprint) != keyed.fingerprint:
        raise Problem(422, "This Idempotency-Key was used for another request.", kind="idempotency-key-reused")
    return Answer(status, body, replayed=True)


def keeping(keyed: Keyed, status: int) -> tuple[str, list[Any]]:
    """A CTE that keeps the answer, and its parameters: for a statement that has it as `body` in a CTE `answer`."""
    return f"kept AS ({_KEEP})", _columns(keyed, status)


def _kept(keyed: Keyed, given: Answer) -> Answer:
    """The answer, when it is kept."""
    with connection.cursor() as cursor:
        cursor.execute(f"WITH answer AS (SELECT %s AS body) {_KEEP}", [given.body, *_columns(keyed, given.status)])
    return given


def _columns(keyed: Keyed, status: int) -> list[Any]:
    return [keyed.user_id, keyed.key, keyed.fingerprint, status, database_time()]


def forget_old_keys() -> int:
    """Delete the keys that have expired; returns how many."""
    deleted, _ = IdempotencyKey.objects.filter(created_at__lt=database_time() - KEY_LIFE).delete()
    return deleted
