"""Noting who listens to what, and starting the backfill of those who begin at the beginning."""

from datetime import UTC, datetime

import structlog
from django.db import connection, transaction

from eventbus.conf import bus_settings
from eventbus.contracts.casting import older_versions
from eventbus.db.sql import fetch
from eventbus.declaration import CONSUMERS, Consumer
from eventbus.heartbeats.processes import processes
from eventbus.replays.models import ArchiveReplay
from eventbus.replays.runs import start_backfill

log = structlog.get_logger(__name__)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A second process that does the same waits for the first one's commit, and then finds nothing new. What came before now
# is not a backlog of the consumer: it comes little by little, and the search for its oldest event leaves it out.
SUBSCRIBE = """
INSERT INTO subscription (consumer, routing_key, since, watermark)
SELECT %s, key, %s, now() FROM unnest(%s::text[]) AS t(key) ORDER BY key
ON CONFLICT (consumer, routing_key) DO NOTHING RETURNING routing_key
"""


def note_subscriptions() -> list[ArchiveReplay]:
    """Note what each declared consumer listens to from now on, and start the backfills of those that are new and begin
    at the beginning.

    Call it when queues and bindings exist: only then does a backfill leave no gap (docs/decisions/0015). Returns those
    that it started; the process worker_dead_letters drives them.
    """
    backfills = []
    for consumer in CONSUMERS.values():
        # The row and its backfill or neither: with the row alone the next call would find nothing new.
        with transaction.atomic():
            new = _subscribe(consumer)
            backfill = start_backfill(consumer, new) if new and consumer.start == "beginning" else None
        if backfill is not None:
            log.info("backfill.started", consumer=consumer.name, events=backfill.total, replay_id=str(backfill.pk))
            backfills.append(backfill)
    return backfills


def unheld() -> list[str]:
    """The events of which this code has a new major version, as no code here had before it, and would record it at
    once, beside processes that don't know it. Raises DatabaseError."""
    known = {(name, key) for name, key in fetch("SELECT consumer, routing_key FROM subscription")}
    found = {
        contract.type
        for consumer in CONSUMERS.values()
        for contract in consumer.on
        for older in older_versions(contract.type, contract.version)
        if (consumer.name, older.routing_key()) in known and (consumer.name, contract.routing_key()) not in known
    }
    found -= set(bus_settings.RECORD_AS)
    return sorted(found) if found and any(process.alive for process in processes()) else []


def _subscribe(consumer: Consumer) -> list[str]:
    """Note the contracts that were not noted yet; returns their routing keys."""
    since = EPOCH if consumer.start == "beginning" else datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute(SUBSCRIBE, [consumer.name, since, list(consumer.reads)])
        return [key for (key,) in cursor.fetchall()]
