"""What `manage.py check` says of the settings of webhooks."""

from ipaddress import ip_network
from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error


def settings_can_be_read(**_: Any) -> list[CheckMessage]:
    """Networks and keys are what they should be. No message holds a key."""
    found: list[CheckMessage] = []
    for each in settings.WEBHOOK_ALLOWED_NETWORKS:
        try:
            ip_network(each)
        except ValueError:
            hint = "Write it like 10.1.0.0/16."
            found.append(Error(f"WEBHOOK_ALLOWED_NETWORKS: {each!r} is not a network.", hint=hint, id="webhooks.E001"))
    for place, key in enumerate(settings.WEBHOOK_KEYS, 1):
        try:
            Fernet(key)
        except ValueError:
            hint = "Make one as .env.example says."
            found.append(Error(f"Key {place} of WEBHOOK_KEYS is not a Fernet key.", hint=hint, id="webhooks.E002"))
    return found
