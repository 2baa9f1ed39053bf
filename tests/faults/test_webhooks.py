"""The process that delivers dies in the midst of it: what it had in hand is sent again, by the same id."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.support.bus import LiveBus
from tests.support.stock import receive
from tools.harness.shop import Shop
from webhooks import services
from webhooks.models import Delivery, DeliveryState, Webhook
from webhooks.tests.partner import Partner

pytestmark = [pytest.mark.live, pytest.mark.faults]

ALLOWED = {"WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8"}


@pytest.fixture
def partner() -> Iterator[Partner]:
    server = Partner()
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize(("failpoint", "copies"), [("webhook.before_send", 1), ("webhook.after_send", 2)])
def test_a_delivery_survives_its_sender(
    live_bus: LiveBus, shop: Shop, partner: Partner, settings: Any, failpoint: str, copies: int
) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    live_bus.ensure("web", "relay", "worker webhooks")
    owner = User.objects.get(pk=shop.channel_id)
    wish = services.Wish(url=partner.url, event_types=["order.created"], filters={})
    webhook, _ = services.create_webhook(owner=owner, wish=wish)
    live_bus.start("deliver_webhooks", failpoint=failpoint, **ALLOWED)
    shop.post(shop.order(receive(10)))
    live_bus.wait_for(lambda: not live_bus["deliver_webhooks"].is_alive, "its death")
    # As if its lease were over, which takes a minute.
    Delivery.objects.filter(webhook=webhook).update(due_at="2026-01-01T00:00:00Z")
    live_bus.start("deliver_webhooks", **ALLOWED)
    live_bus.wait_for(
        lambda: Delivery.objects.filter(webhook=webhook, state=DeliveryState.DELIVERED).first(), "the delivery"
    )
    assert (len(partner.received), len(set(partner.ids()))) == (copies, 1)
    live_bus.term("deliver_webhooks")
    assert live_bus["deliver_webhooks"].wait(0) == 0
    Webhook.objects.filter(pk=webhook.pk).update(state="DELETED")
