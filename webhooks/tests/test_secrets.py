"""Secrets at rest, and settings that can't be read."""

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.fernet import Fernet
from standardwebhooks import Webhook as Verifier

from eventbus import database_time, new_id
from webhooks.checks import settings_can_be_read
from webhooks.messages import signed
from webhooks.secrets import UnreadableSecret, new_secret, seal, unseal

pytestmark = pytest.mark.django_db


def test_the_first_key_writes_and_all_read(settings: Any) -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    settings.WEBHOOK_KEYS = [old]
    stored = seal("whsec_x")
    settings.WEBHOOK_KEYS = [new, old]
    assert unseal(stored) == "whsec_x"
    settings.WEBHOOK_KEYS = [new]
    with pytest.raises(UnreadableSecret, match="WEBHOOK_KEYS"):
        unseal(stored)


def test_each_of_two_secrets_verifies() -> None:
    both, event_id, body = [new_secret(), new_secret()], new_id(), b'{"type": "x"}'
    headers = signed(str(event_id), body, at=database_time(), secrets=both)
    for secret in both:
        assert Verifier(secret).verify(body, headers) == {"type": "x"}


def test_what_can_not_be_read_is_said_before_anything_runs(settings: Any) -> None:
    assert settings_can_be_read() == []
    settings.WEBHOOK_ALLOWED_NETWORKS, settings.WEBHOOK_KEYS = ["10.0.0.0/8", "office"], ["hunter2"]
    assert [each.id for each in settings_can_be_read()] == ["webhooks.E001", "webhooks.E002"]
    assert "hunter2" not in str(settings_can_be_read())


def test_the_signature_is_that_of_standard_webhooks_own_vector() -> None:
    at = datetime.fromtimestamp(1614265330, UTC)
    told: dict[str, Any] = {"at": at, "secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]}
    headers = signed("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', **told)
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
