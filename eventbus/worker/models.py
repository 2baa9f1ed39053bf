"""The inbox, and how far ordered consumers are."""

from django.db import models


class Outcome(models.TextChoices):
    """What became of an event at a consumer. An ordered consumer's later events wait behind a dead letter."""

    DONE = "done"
    DEAD = "dead"
    WAITING = "waiting"
    DISCARDED = "discarded"


class ProcessedEvent(models.Model):
    """The inbox: what each consumer has done with each event. Written in the transaction of the effects."""

    pk = models.CompositePrimaryKey("event_id", "consumer")
    event_id = models.UUIDField()
    consumer = models.TextField()
    outcome = models.TextField(choices=Outcome.choices, default=Outcome.DONE)
    attempts = models.IntegerField(default=1)
    payload_hash = models.BigIntegerField(null=True, help_text="None where nobody has read the payload.")
    processed_at = models.DateTimeField(help_text="When the transaction that handled it began.")
    first_failed_at = models.DateTimeField(null=True, help_text="Where it did not succeed at once.")
    last_error = models.TextField(null=True, help_text="How the attempt before the last one ended.")  # noqa: DJ001

    class Meta:
        db_table = "processed_event"
        managed = False

    def __str__(self) -> str:
        return f"{self.consumer} {self.event_id}: {self.outcome}"


class OrderedPosition(models.Model):
    """Up to which number an ordered consumer has handled an aggregate's events. Its lock lets one worker go on."""

    pk = models.CompositePrimaryKey("consumer", "aggregate_type", "aggregate_id")
    consumer = models.TextField(db_collation="C")
    aggregate_type = models.TextField(db_collation="C")
    aggregate_id = models.TextField(db_collation="C")
    sequence = models.IntegerField()

    class Meta:
        db_table = "ordered_position"

    def __str__(self) -> str:
        return f"{self.consumer} {self.aggregate_type} {self.aggregate_id}: {self.sequence}"


class ProcessedEventRow(models.Model):
    """The inbox as a view with a key of one column, for the admin: it can't show a composite key."""

    counted_in = "processed_event"

    id = models.TextField(primary_key=True)
    event_id = models.UUIDField()
    consumer = models.TextField()
    outcome = models.TextField(choices=Outcome.choices)
    attempts = models.IntegerField()
    processed_at = models.DateTimeField()

    class Meta:
        db_table = "processed_event_row"
        managed = False
        verbose_name = "processed event"
        ordering = ["-event_id"]

    def __str__(self) -> str:
        return f"{self.consumer} {self.event_id}: {self.outcome}"
