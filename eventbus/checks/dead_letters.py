"""What `manage.py check` says of the keys of dead letters."""

from typing import Any

from cryptography.fernet import Fernet
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from eventbus.conf import bus_settings

MAKE_ONE = "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"


@register()
def keys_are_keys(**_: Any) -> list[CheckMessage]:
    """A key that is not valid would be noticed only with the first dead letter."""
    for place, key in enumerate(bus_settings.DEAD_LETTER_KEYS, 1):
        try:
            Fernet(key)
        except ValueError:
            hint = f"Make one with: {MAKE_ONE}"
            return [Error(f"Key {place} of DEAD_LETTER_KEYS is not a valid Fernet key.", hint=hint, id="eventbus.E101")]
    return []


@register(Tags.security, deploy=True)
def payloads_have_keys_of_their_own(**_: Any) -> list[CheckMessage]:
    """Whoever changes SECRET_KEY must not lose the dead letters with it."""
    if bus_settings.DEAD_LETTER_KEYS:
        return []
    return [
        Warning(
            "DEAD_LETTER_KEYS is empty: the payloads of dead letters are encrypted with a key made of SECRET_KEY.",
            hint=f"Make one with: {MAKE_ONE}",
            id="eventbus.W101",
        )
    ]
