"""The tables of the bus. `event` and `processed_event` are partitioned by month: see `eventbus.partitions`."""

import json
from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from eventbus.dead_letters.models import (  # noqa: F401  Django looks for an app's models here
    DeadLetter,
    DeadLetterEdit,
    DeadLetterGroup,
    DeadLetterHour,
    Replay,
    ReplayItem,
)
from eventbus.event_replays.models import EventReplay  # noqa: F401


class ExactDecoder(json.JSONDecoder):
    """Reads JSON numbers with a fraction as Decimal: money must not become a float on its way out of the archive."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(parse_float=Decimal, **kwargs)


class Event(models.Model):
    """The archive and event store: one row per published fact, append-only. Nobody has the right to change it,
    and triggers refuse whoever has it all the same."""

    id = models.UUIDField(primary_key=True, help_text="UUIDv7: its first 48 bits are the time, in milliseconds.")
    type = models.TextField()
    version = models.TextField()
    aggregate_type = models.TextField()
    aggregate_id = models.TextField()
    sequence = models.IntegerField(help_text="1, 2, 3 … within the aggregate.")
    occurred_at = models.DateTimeField()
    correlation_id = models.TextField()
    causation_id = models.UUIDField(null=True)
    user_id = models.TextField(null=True)  # noqa: DJ001  the envelope leaves the field out, rather than send ""
    data = models.JSONField(decoder=ExactDecoder)

    class Meta:
        db_table = "event"
        managed = False
        ordering = ["-id"]
        permissions = [("view_pipeline", "Can see the pipeline")]

    def __str__(self) -> str:
        return f"{self.type} {self.aggregate_id} #{self.sequence}"


class Stream(models.Model):
    """How many events an aggregate has. Its row's lock puts the aggregate's events in commit order."""

    pk = models.CompositePrimaryKey("aggregate_type", "aggregate_id")
    aggregate_type = models.TextField()
    aggregate_id = models.TextField()
    sequence = models.IntegerField()

    class Meta:
        db_table = "stream"
        managed = False

    def __str__(self) -> str:
        return f"{self.aggregate_type} {self.aggregate_id}"


class StreamCut(models.Model):
    """Up to which number an aggregate's events are not in the archive: pruned, or never imported."""

    pk = models.CompositePrimaryKey("aggregate_type", "aggregate_id")
    aggregate_type = models.TextField(db_collation="C")
    aggregate_id = models.TextField(db_collation="C")
    sequence = models.IntegerField()

    class Meta:
        db_table = "stream_cut"

    def __str__(self) -> str:
        return f"{self.aggregate_type} {self.aggregate_id}: {self.sequence}"


class PrunedMonth(models.Model):
    """A month whose events and inbox were dropped."""

    month = models.DateField(primary_key=True, help_text="Its first day.")
    events = models.BigIntegerField()
    pruned_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "pruned_month"
        ordering = ["month"]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class Outbox(models.Model):
    """An event that the broker has not confirmed. Never read by `position > last`: positions commit out of order."""

    position = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField()
    aggregate_id = models.TextField()
    held_by = models.TextField(null=True, help_text="The routing key that it waits for: a queue of it is full.")  # noqa: DJ001

    class Meta:
        db_table = "outbox"
        managed = False
        verbose_name_plural = "outbox"

    def __str__(self) -> str:
        return f"{self.position}: {self.event_id}"


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
    processed_at = models.DateTimeField()

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


class Subscription(models.Model):
    """Since when a consumer listens to a contract. Events from before are not missing from its inbox.

    One that is filled from the archive listens since 1970.
    """

    consumer = models.TextField()
    routing_key = models.TextField()
    since = models.DateTimeField(default=timezone.now)
    settled_until = models.DateTimeField(
        null=True, editable=False, help_text="Everything older is handled: where the search for the oldest begins."
    )
    noted_at = models.DateTimeField(db_default=Now(), editable=False, help_text="From then on it can be quiet.")
    heard_at = models.DateTimeField(null=True, help_text="When it last handled an event of it; as far as is known.")
    looked_at = models.DateTimeField(null=True, editable=False, help_text="Up to when `heard_at` was looked for.")

    class Meta:
        db_table = "subscription"
        verbose_name = "consumer"
        ordering = ["consumer", "routing_key"]
        constraints = [models.UniqueConstraint(fields=["consumer", "routing_key"], name="subscription_once")]

    def __str__(self) -> str:
        return f"{self.consumer} on {self.routing_key}"


class AlarmState(models.TextChoices):
    OK = "ok"
    PENDING = "pending"
    FIRING = "firing"


class Alarm(models.Model):
    """What a rule last measured of one subject, and what follows from it. See `eventbus.alarms`."""

    name = models.TextField()
    subject = models.TextField(blank=True)
    state = models.TextField(choices=AlarmState.choices, default=AlarmState.OK)
    count = models.IntegerField(default=0, help_text="Evaluations in a row over the threshold.")
    value = models.FloatField(default=0)
    since = models.DateTimeField(help_text="When it came into this state.")
    evaluated_at = models.DateTimeField()

    class Meta:
        db_table = "alarm"
        ordering = ["name", "subject"]
        constraints = [models.UniqueConstraint(fields=["name", "subject"], name="alarm_once")]

    def __str__(self) -> str:
        return f"{self.name} {self.subject}".rstrip()


class AlarmNotice(models.Model):
    """One change of an alarm's state, to be told over one channel, once."""

    id = models.UUIDField(primary_key=True, help_text="The same at each attempt: by it a receiver knows a repeat.")
    name = models.TextField()
    subject = models.TextField(blank=True)
    state = models.TextField(choices=AlarmState.choices)
    value = models.FloatField()
    changed_at = models.DateTimeField()
    channel = models.TextField(help_text="mail or webhook")
    attempts = models.IntegerField(default=0)
    error = models.TextField(blank=True)
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "alarm_notice"
        ordering = ["-id"]
        indexes = [models.Index(fields=["id"], condition=models.Q(delivered_at=None), name="alarm_notice_waiting")]

    def __str__(self) -> str:
        return f"{self.name} {self.subject} {self.state}, by {self.channel}"
