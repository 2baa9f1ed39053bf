"""What staff see of webhooks, and do with them."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from eventbus import database_time
from webhooks import claims, secrets, services
from webhooks.alarms import webhooks_disabled, webhooks_late
from webhooks.calling import Outcome
from webhooks.models import Delivery, DeliveryState, State, Webhook
from webhooks.tests.builders import a_partner, a_webhook

pytestmark = pytest.mark.django_db

LIST = reverse("admin:webhooks_webhook_changelist")
DELIVERIES = reverse("admin:webhooks_delivery_changelist")
MAKE = reverse("admin:webhooks_webhook_make")


def clerk(*rights: str) -> Client:
    """A member of staff who may look, and whatever else is named."""
    user = a_partner(is_staff=True)
    wanted = ("view_webhook", "view_delivery", "view_attempt", *rights)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="webhooks", codename__in=wanted))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def manager(db: None) -> Client:
    return clerk("manage_webhook")


def act(client: Client, page: str, action: str, row: Webhook | Delivery) -> str:
    answer = client.post(page, {"action": action, "_selected_action": [str(row.pk)]}, follow=True)
    return answer.content.decode()


def test_one_is_made_for_a_partner_and_shows_its_secret_once(owner: User, manager: Client) -> None:
    wish = {"owner": owner.pk, "url": "https://partner.example/<b>", "event_types": ["order.confirmed"]}
    assert "forbidden" not in manager.get(MAKE).content.decode()
    refused = manager.post(MAKE, wish | {"url": "https://10.0.0.1/"}).content.decode()
    assert "not on the open internet" in refused
    answer = manager.post(MAKE, wish)
    webhook = Webhook.objects.get()
    [shown] = re.findall(r"whsec_[A-Za-z0-9+/=]+", answer.content.decode())
    assert shown == secrets.unseal(webhook.secret)
    assert "no-store" in answer["Cache-Control"]
    assert "<b>" not in answer.content.decode()
    page = reverse("admin:webhooks_webhook_change", args=[webhook.pk])
    for later in (LIST, page):
        assert "whsec_" not in manager.get(later).content.decode()
    assert bytes(webhook.secret).decode() not in manager.get(page).content.decode()


def test_it_is_tested_paused_and_resumed(owner: User, manager: Client) -> None:
    webhook, _ = a_webhook(owner)
    assert "on its way" in act(manager, LIST, "ping", webhook)
    assert Delivery.objects.get().event_type == "webhook.ping"
    act(manager, LIST, "pause", webhook)
    webhook.refresh_from_db()
    assert webhook.state == State.PAUSED
    assert "Resume it first" in act(manager, LIST, "ping", webhook)
    act(manager, LIST, "resume", webhook)
    webhook.refresh_from_db()
    assert webhook.state == State.ACTIVE


def test_a_delivery_shows_its_attempts_and_is_sent_again(owner: User, manager: Client) -> None:
    webhook, _ = a_webhook(owner)
    delivery = services.ping(webhook.pk)
    (claim,) = claims.claim(1, failing=False)
    claims.note(claim, Outcome(7, 418, "It answered 418.", "<script>short and stout"), at=database_time())
    Delivery.objects.update(state=DeliveryState.FAILED)
    page = manager.get(reverse("admin:webhooks_delivery_change", args=[delivery.pk])).content.decode()
    assert "&lt;script&gt;short and stout" in page
    act(manager, DELIVERIES, "resend", delivery)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries) == (DeliveryState.WAITING, 0)
    for text in (str(webhook.pk), str(delivery.event_id)):
        assert str(delivery.pk) in manager.get(DELIVERIES, {"q": text}).content.decode()


def test_who_may_only_look_changes_nothing(owner: User) -> None:
    webhook, _ = a_webhook(owner)
    client = clerk()
    assert client.get(LIST).status_code == 200
    assert client.get(MAKE).status_code == 403
    act(client, LIST, "pause", webhook)
    webhook.refresh_from_db()
    assert webhook.state == State.ACTIVE


def test_who_is_disabled_and_what_is_late_is_alarmed(owner: User) -> None:
    nobody: object = None
    webhook, _ = a_webhook(owner)
    assert webhooks_disabled(nobody) == {}  # type: ignore[arg-type]
    assert webhooks_late(nobody) == {"": 0.0}  # type: ignore[arg-type]
    services.ping(webhook.pk)
    Delivery.objects.update(due_at=database_time() - timedelta(minutes=10))
    assert webhooks_late(nobody)[""] > 590  # type: ignore[arg-type]
    (claim,) = claims.claim(1, failing=False)
    claims.note(claim, Outcome(1, 410, "It answered 410."), at=database_time())
    assert webhooks_disabled(nobody) == {str(webhook.pk): 1.0}  # type: ignore[arg-type]
    assert webhooks_late(nobody) == {"": 0.0}  # type: ignore[arg-type]
