"""The table of replays from the archive."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class RunState(models.TextChoices):
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    DONE = "done"


class ArchiveReplay(models.Model):
    """A run that sends archived events to one consumer's queue, in the order of their ids.

    Its set is frozen by `upto`: what is published later reaches the consumer anyway.
    """

    id = models.UUIDField(primary_key=True)
    consumer = models.TextField()
    is_backfill = models.BooleanField(
        default=False, help_text='The consumer is new here: it declares start="beginning", and nobody asked by hand.'
    )
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.TextField()
    selection = models.JSONField(help_text="The filters that were asked for.")
    routing_keys = ArrayField(models.TextField(), help_text="The contracts that it sends.")
    position = models.UUIDField(help_text="Everything up to this event has been sent, or was handled already.")
    upto = models.UUIDField(help_text="The last event of the frozen set.")
    total = models.BigIntegerField(help_text="Events that were to be sent, counted at the start.")
    sent = models.BigIntegerField(default=0)
    rate = models.FloatField(null=True, help_text="Events per second at most.")
    state = models.TextField(choices=RunState.choices, default=RunState.RUNNING)
    note = models.TextField(blank=True, default="")
    lease_holder = models.TextField(blank=True, default="")
    lease_until = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "eventbus"
        db_table = "event_replay"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["lease_until"], name="event_replay_running", condition=models.Q(state="running")),
        ]
        permissions = [("replay_events", "Can replay events from the archive")]

    def __str__(self) -> str:
        return f"Replay {self.pk} to {self.consumer}"
