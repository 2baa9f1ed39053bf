"""What makes the consumers of `tests.testapp` misbehave."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import psycopg
from django.db import transaction

from eventbus import publish
from tests.support.bus import LiveBus
from tests.testapp.consumers import GATE
from tests.testapp.events import TroubleAsked


def ask(*how: str) -> list[UUID]:
    with transaction.atomic():
        return publish(*(TroubleAsked(trouble_id=uuid4(), how=each) for each in how))


@contextmanager
def closed_gate(bus: LiveBus) -> Iterator[None]:
    """Inside, the handler of a "wait" event waits."""
    with psycopg.connect(bus.database_url, autocommit=True) as gate:
        gate.execute("SELECT pg_advisory_lock(%s)", [GATE])
        yield
