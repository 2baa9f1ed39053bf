"""From an event to a partner's server and back: a real server, a real database, and the process as a thread."""

import json

import pytest
from django.contrib.auth.models import User
from standardwebhooks import Webhook as Verifier

from eventbus.testing import deliver, wait_until
from webhooks.consumers import queue_deliveries
from webhooks.models import Delivery, DeliveryState
from webhooks.tests.builders import a_webhook, confirmed
from webhooks.tests.partner import Partner

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.usefixtures("delivering")
def test_an_event_is_told_signed_and_thin(owner: User, partner: Partner) -> None:
    _, secret = a_webhook(owner, partner.url)
    event = confirmed(owner)
    deliver(event, to=queue_deliveries)
    delivery = wait_until(lambda: Delivery.objects.filter(state=DeliveryState.DELIVERED).first(), 20, "a delivery")
    (got,) = partner.received
    assert Verifier(secret).verify(got.body, got.headers) == json.loads(got.body)
    assert got.headers["webhook-id"] == str(event.envelope.event_id)
    assert json.loads(got.body) == {
        "type": "order.confirmed",
        "timestamp": event.envelope.occurred_at.isoformat().replace("+00:00", "Z"),
        "data": {
            "eventId": str(event.envelope.event_id),
            "version": "1.1",
            "aggregateType": "order",
            "aggregateId": event.aggregate_id,
            "path": f"/api/v1/orders/{event.aggregate_id}",
        },
    }
    (attempt,) = delivery.attempts.all()
    assert (attempt.status, attempt.error, attempt.answer) == (200, "", "thanks")
