"""What is measured of webhooks: each attempt by what came of it, what waits, and what was disabled."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from eventbus.testing import wait_until
from webhooks import metrics, services
from webhooks.calling import Outcome
from webhooks.models import Delivery, DeliveryState, State, Webhook
from webhooks.tests.builders import a_partner, a_webhook, many_deliveries
from webhooks.tests.conftest import running
from webhooks.tests.partner import Partner

TOKEN = "t0ken"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is counted: outcomes, and the seconds of each."""
    found: list[Any] = []
    monkeypatch.setattr(metrics, "ATTEMPTS", SimpleNamespace(add=lambda by, outcome: found.append(outcome)))
    monkeypatch.setattr(metrics, "SECONDS", SimpleNamespace(observe=lambda seconds: found.append(seconds)))
    return found


def test_attempts_count_by_what_came_of_them(counted: list[Any]) -> None:
    for status in (204, 503, None):
        metrics.count_attempt(Outcome(1_500, status))
    assert counted == ["delivered", 1.5, "refused", 1.5, "unanswered", 1.5]


@pytest.mark.django_db(transaction=True)
def test_the_process_counts_each_attempt(owner: User, partner: Partner, counted: list[Any]) -> None:
    webhook, _ = a_webhook(owner, partner.url)
    services.ping(webhook.pk)
    with running():
        wait_until(Delivery.objects.filter(state=DeliveryState.DELIVERED).exists, 60, "the test")
    assert counted[0] == "delivered"
    assert len(counted) == 2


@pytest.mark.django_db
def test_what_waits_and_what_was_disabled_is_read(owner: User, client: Client, settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN
    active, _ = a_webhook(owner)
    disabled, _ = a_webhook(owner)
    many_deliveries(active, 3)
    many_deliveries(disabled, 2)
    Delivery.objects.filter(pk=Delivery.objects.filter(webhook=active).values("pk")[:1]).update(state="DELIVERED")
    Webhook.objects.filter(pk=disabled.pk).update(state=State.DISABLED)
    shut_out, _ = a_webhook(a_partner(is_active=False))
    many_deliveries(shut_out, 5)
    lines = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).content.decode().splitlines()
    assert {"webhook_deliveries_waiting 2.0", "webhooks_disabled 1.0"} <= set(lines)
