"""Noting who listens to what, and filling those who begin at the beginning."""

from datetime import UTC, datetime

import structlog
from django.db import connection, transaction

from eventbus.consumer import CONSUMERS, Consumer
from eventbus.replays.models import ArchiveReplay
from eventbus.replays.runs import start_backfill

log = structlog.get_logger(__name__)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A second process that does the same waits for the first one's commit, and then finds nothing new. What came before now
# is no backlog of the consumer: it is filled in little by little, and the search for its oldest event leaves it out.
SUBSCRIBE = """
INSERT INTO subscription (consumer, routing_key, since, watermark)
SELECT %s, key, %s, now() FROM unnest(%s::text[]) AS t(key) ORDER BY key
ON CONFLICT (consumer, routing_key) DO NOTHING RETURNING routing_key
"""


def note_subscriptions() -> list[ArchiveReplay]:
    """Note what each declared consumer listens to from now on, and start to fill those that begin at the beginning.

    Call it when queues and bindings exist: only then does a fill leave no gap (docs/decisions/0015). Returns the fills
    that it started; a driver carries them out.
    """
    fills = []
    for consumer in CONSUMERS.values():
        # The row and its fill or neither: with the row alone the next call would find nothing new.
        with transaction.atomic():
            new = _subscribe(consumer)
            fill = start_backfill(consumer, new) if new and consumer.start == "beginning" else None
        if fill is not None:
            log.info("fill.started", consumer=consumer.name, events=fill.total, replay_id=str(fill.pk))
            fills.append(fill)
    return fills


def _subscribe(consumer: Consumer) -> list[str]:
    """Note the contracts that were not noted yet; returns their routing keys."""
    since = EPOCH if consumer.start == "beginning" else datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute(SUBSCRIBE, [consumer.name, since, list(consumer.routing_keys)])
        return [key for (key,) in cursor.fetchall()]
