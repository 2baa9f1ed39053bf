"""The outbox, and what is known of lost queues."""

from django.db import models
from django.db.models.functions import Now


class Outbox(models.Model):
    """An event that the broker has not confirmed. Never read by `position > last`: positions commit out of order."""

    position = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField()
    aggregate_id = models.TextField()
    blocked_key = models.TextField(null=True, help_text="The routing key that it waits for: a queue of it is full.")  # noqa: DJ001

    class Meta:
        db_table = "outbox"
        managed = False
        verbose_name_plural = "outbox"

    def __str__(self) -> str:
        return f"{self.position}: {self.event_id}"


class RefusedDelivery(models.Model):
    """A consumer's queue lacks an event that is blocked in the outbox. See `eventbus.relay.full_queues`."""

    pk = models.CompositePrimaryKey("queue", "position")
    queue = models.TextField()
    position = models.BigIntegerField()

    class Meta:
        db_table = "refused_delivery"
        managed = False
        verbose_name_plural = "refused deliveries"

    def __str__(self) -> str:
        return f"{self.queue} lacks {self.position}"


class LostQueue(models.Model):
    """A consumer's queue was gone. See `eventbus.relay.lost_queues`."""

    consumer = models.TextField()
    noticed_at = models.DateTimeField(db_default=Now())
    repaired_at = models.DateTimeField(null=True, help_text="When what the consumer lacks began to be sent again.")

    class Meta:
        db_table = "lost_queue"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.consumer} at {self.noticed_at}"
