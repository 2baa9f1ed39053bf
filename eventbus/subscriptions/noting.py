"""Noting who listens to what, and starting the backfill of those who begin at the beginning."""

from datetime import UTC, datetime

import structlog
from django.db import connection, transaction

from eventbus.declaration import CONSUMERS, Consumer
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


def _subscribe(consumer: Consumer) -> list[str]:
    """Note the contracts that were not noted yet; returns their routing keys."""
    since = EPOCH if consumer.start == "beginning" else datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute(SUBSCRIBE, [consumer.name, since, list(consumer.routing_keys)])
        return [key for (key,) in cursor.fetchall()]
