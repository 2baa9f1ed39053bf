"""Payloads at rest: Fernet (AES-128-CBC with HMAC), the first key writes, all keys read.

https://cryptography.io/en/latest/fernet/
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import cache
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from eventbus.conf import bus_settings
from eventbus.errors import EventbusError


class UnreadablePayload(EventbusError):
    """None of the keys opens this payload."""


def encrypt(body: bytes) -> bytes:
    """The body as it is stored."""
    # A token is base64; the table keeps the bytes behind it, a quarter less.
    return urlsafe_b64decode(_fernet(_keys()).encrypt(body))


def decrypt(stored: bytes | memoryview) -> bytes:
    """The body as it came. Raises UnreadablePayload."""
    try:
        return _fernet(_keys()).decrypt(urlsafe_b64encode(bytes(stored)))
    except InvalidToken:
        raise UnreadablePayload(
            "No key opens this payload. Add the key it was written with to the end of DEAD_LETTER_KEYS."
        ) from None


def _keys() -> tuple[str, ...]:
    # Without keys of their own, letters stand and fall with SECRET_KEY; `check --deploy` refuses that.
    derived = [derive(secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]
    return (*bus_settings.DEAD_LETTER_KEYS, *derived)


def derive(secret: str) -> str:
    """A Fernet key from a secret of any length."""
    return urlsafe_b64encode(sha256(b"dead letters: " + secret.encode()).digest()).decode()


@cache
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
