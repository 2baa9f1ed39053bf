"""Sales channels of a test's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from django.contrib.auth.models import User

from api import tokens
from tests.support.bus import LiveBus
from tools.harness.shop import Shop


@contextmanager
def own_channel(bus: LiveBus) -> Iterator[Shop]:
    """A new channel of this bus, on whose database Django has to work."""
    name = f"shop-{uuid4().hex[:8]}"
    token, _ = tokens.create_channel(name=name, days=1)
    channel = Shop(f"http://127.0.0.1:{bus.web_port}/api/v1", token, User.objects.get(username=name).pk)
    yield channel
    channel.close()
