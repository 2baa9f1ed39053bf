"""Who calls: a sales channel or a member of staff, by a token."""

from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from knox.auth import TokenAuthentication
from knox.crypto import hash_token
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from api import lockout

# In the order of the model's columns: from_db() takes them so, and would put a name where a right belongs.
_FIELDS = ("id", "is_superuser", "username", "is_staff", "is_active")
_LOOK_UP = f"""
SELECT {", ".join(f"u.{field}" for field in _FIELDS)}, l.per_second
FROM knox_authtoken t JOIN auth_user u ON u.id = t.user_id LEFT JOIN api_channellimit l ON l.user_id = u.id
WHERE t.digest = %s AND (t.expiry IS NULL OR t.expiry > now())
"""


class ChannelAuthentication(TokenAuthentication):  # type: ignore[misc]
    """Knox's tokens, looked up by their digest in one statement. Knox itself takes two and deletes old tokens here."""

    def authenticate(self, request: Request) -> Any:
        """Knox's own. Who shows too many wrong tokens gets a Problem with status 429."""
        try:
            return super().authenticate(request)
        except AuthenticationFailed:
            lockout.note_wrong_token(request)
            raise

    def authenticate_credentials(self, token: bytes) -> tuple[Any, None]:
        """The token's user, with its own `rate_limit`. Raises AuthenticationFailed for a token that is unknown, expired
        or of nobody active."""
        with connection.cursor() as cursor:
            cursor.execute(_LOOK_UP, [hash_token(token.decode("latin-1"))])
            row = cursor.fetchone()
        if row is None or not row[_FIELDS.index("is_active")]:
            raise AuthenticationFailed("The token is unknown or has expired.")
        user: Any = get_user_model().from_db(connection.alias, _FIELDS, row[:-1])
        user.rate_limit = row[-1]
        return user, None
