"""Deliveries go when they are old, and deleted webhooks with all that they have."""

from uuid import UUID

from django.db import connection

from eventbus import database_time
from eventbus.archive import first_id_at
from webhooks.models import State, Webhook
from webhooks.services import KEPT

#: Rows that go in one statement: each holds nobody up for long.
AT_ONCE = 1_000

FORGET = """
WITH gone AS MATERIALIZED (
    SELECT d.id FROM webhooks_delivery d JOIN webhooks_webhook w ON w.id = d.webhook_id
    WHERE d.id < %s OR w.state = %s ORDER BY d.id LIMIT %s
), attempts AS (
    DELETE FROM webhooks_attempt a USING gone WHERE a.delivery_id = gone.id
)
SELECT id FROM gone
"""
REMOVE = "DELETE FROM webhooks_delivery WHERE id = ANY(%s)"


def forget_old_deliveries() -> int:
    """Delete what is older than KEPT or belongs to a deleted webhook; returns how many deliveries."""
    first_kept = first_id_at(database_time() - KEPT)
    forgotten = 0
    while ids := _forget(first_kept):
        forgotten += ids
    Webhook.objects.filter(state=State.DELETED, deliveries=None).delete()
    return forgotten


def _forget(first_kept: UUID) -> int:
    with connection.cursor() as cursor:
        cursor.execute(FORGET, [first_kept, State.DELETED, AT_ONCE])
        ids = [delivery_id for (delivery_id,) in cursor.fetchall()]
        cursor.execute(REMOVE, [ids])
    return len(ids)
