from uuid import uuid4

import pytest
from django.db import transaction

from eventbus.publishing import publish
from tests.support.bus import LiveBus
from tests.testapp.events import ProbeSent

pytestmark = pytest.mark.live


def test_one_event_reaches_two_consumers_once_each(live_bus: LiveBus) -> None:
    live_bus.ensure("relay", "worker probe")
    with transaction.atomic():
        (event_id,) = publish(ProbeSent(probe_id=uuid4()))
    live_bus.drain()
    assert live_bus.effects("probe.count", event_id) == live_bus.effects("probe.audit", event_id) == 1
    live_bus.verify()
