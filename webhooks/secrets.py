"""Secrets that webhooks are signed with: made, and kept encrypted, since to sign one needs the secret itself.

Fernet; the first key of WEBHOOK_KEYS writes, all read. Without keys of their own they stand and fall with SECRET_KEY.
"""

from base64 import b64encode, urlsafe_b64encode
from functools import cache
from hashlib import sha256
from secrets import token_bytes

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from eventbus import EventbusError

PREFIX = "whsec_"
BYTES = 32


class UnreadableSecret(EventbusError):
    """None of the keys opens this secret."""


def new_secret() -> str:
    """A secret as Standard Webhooks writes it."""
    return PREFIX + b64encode(token_bytes(BYTES)).decode()


def seal(secret: str) -> bytes:
    """The secret as it is stored."""
    return _fernet(_keys()).encrypt(secret.encode())


def unseal(stored: bytes | memoryview) -> str:
    """The secret as its owner has it. Raises UnreadableSecret."""
    try:
        return _fernet(_keys()).decrypt(bytes(stored)).decode()
    except InvalidToken:
        raise UnreadableSecret("No key opens this secret. Add the one it was written with to WEBHOOK_KEYS.") from None


def _keys() -> tuple[str, ...]:
    known = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    derived = [urlsafe_b64encode(sha256(b"webhooks: " + each.encode()).digest()).decode() for each in known]
    return (*settings.WEBHOOK_KEYS, *derived)


@cache
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
