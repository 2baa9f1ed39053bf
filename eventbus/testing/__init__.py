"""For tests: the real inbox path on a real database, without a broker; and the rows of the bus, to assert on."""

from eventbus.archive.models import ArchivedEvent
from eventbus.archive.partitions import ensure_partitions
from eventbus.recording.models import Stream
from eventbus.relay.models import Outbox
from eventbus.restores.models import Reconciliation
from eventbus.testing.bus import (
    deliver,
    delivered,
    empty_bus,
    from_archive,
    given_up,
    on_the_wire,
    prune_before,
    prune_this_month,
    published,
    put_off,
    recorded,
    subscribed,
)
from eventbus.testing.waiting import wait_until
from eventbus.worker.models import ProcessedEvent

__all__ = [
    "ArchivedEvent",
    "Outbox",
    "ProcessedEvent",
    "Reconciliation",
    "Stream",
    "deliver",
    "delivered",
    "empty_bus",
    "ensure_partitions",
    "from_archive",
    "given_up",
    "on_the_wire",
    "prune_before",
    "prune_this_month",
    "published",
    "put_off",
    "recorded",
    "subscribed",
    "wait_until",
]
