"""The outbox."""

from django.db import models


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
