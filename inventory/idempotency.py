"""Said twice, done once: the answer to a keyed request is kept with what it did, and a repeat gets it again."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction

from eventbus import encode_json
from eventbus.api_tools import Refusal
from inventory.models import IdempotencyKey

KEY_LIFE = timedelta(hours=24)

_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('stock ' || %s, %s))"


def once(*, user_id: int, key: str, request: Any, act: Callable[[], Any]) -> tuple[str, bool]:
    """Act, unless this user's key was used already; returns the answer as JSON text, and whether it is a repeat's.

    What `act` raises is passed on, and the key stays unused. `request` is all that tells one request from another.
    Raises a Refusal: 409 while the first is in flight, 422 if it was another request.
    """
    fingerprint = hashlib.sha256(encode_json(request)).digest()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_LOCK, [key, user_id])
            if not cursor.fetchone()[0]:
                raise Refusal(
                    409, "A request with this Idempotency-Key is in flight.", kind="idempotency-key-in-flight", wait=1
                )
        # Asked after the lock is held: only then is visible what its last holder committed.
        now = datetime.now(UTC)
        earlier = IdempotencyKey.objects.filter(user_id=user_id, key=key, created_at__gt=now - KEY_LIFE).first()
        if earlier is None:
            answer = encode_json(act()).decode()
            kept = {"fingerprint": fingerprint, "response": answer, "created_at": now}
            IdempotencyKey.objects.update_or_create(user_id=user_id, key=key, defaults=kept)
            return answer, False
    if bytes(earlier.fingerprint) != fingerprint:
        raise Refusal(422, "This Idempotency-Key was used for another request.", kind="idempotency-key-reused")
    return earlier.response, True


def forget_old_keys() -> int:
    """Delete the keys that have expired; returns how many."""
    deleted, _ = IdempotencyKey.objects.filter(created_at__lt=datetime.now(UTC) - KEY_LIFE).delete()
    return deleted
