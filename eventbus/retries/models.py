"""The deliveries that failed and come again."""

from django.db import models
from django.db.models.functions import Now


class WaitingRetry(models.Model):
    """A delivery of one consumer that failed and is sent to its queue again when it is due."""

    delivery_key = models.UUIDField(unique=True, help_text="The same for a delivery that comes twice.")
    consumer = models.TextField(db_collation="C")
    event_id = models.UUIDField(null=True, help_text="Empty where neither the body nor its properties name one.")
    event_type = models.TextField(blank=True)
    aggregate_type = models.TextField(blank=True)
    aggregate_id = models.TextField(blank=True)
    attempt = models.IntegerField(help_text="The number of the attempt to come.")
    due_at = models.DateTimeField()
    first_failed_at = models.DateTimeField()
    last_error = models.TextField()
    refusals = models.IntegerField(db_default=0, help_text="How often its queue took it not: full, or missing.")
    body = models.BinaryField(help_text="Encrypted.")
    headers = models.JSONField()
    properties = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "waiting_retry"
        verbose_name_plural = "waiting retries"
        ordering = ["due_at", "id"]
        indexes = [
            models.Index(fields=["due_at"], name="waiting_retry_due"),
            models.Index(fields=["consumer", "due_at"], name="waiting_retry_of_consumer"),
            models.Index(fields=["event_id"], name="waiting_retry_of_event"),
        ]
        permissions = [
            ("hurry_waiting_retry", "Can have waiting retries sent at once"),
            ("cancel_waiting_retry", "Can make dead letters of waiting retries"),
        ]

    def __str__(self) -> str:
        return f"{self.consumer} {self.event_id}: attempt {self.attempt} at {self.due_at:%Y-%m-%d %H:%M:%S}"
