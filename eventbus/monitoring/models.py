"""Alarms and their notices."""

from django.db import models


class AlarmState(models.TextChoices):
    OK = "ok"
    PENDING = "pending"
    FIRING = "firing"


class Alarm(models.Model):
    """What a rule last measured of one subject, and what follows from it. See `eventbus.monitoring.alarms`."""

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


class AlarmEvaluation(models.Model):
    """One row: when the alarms were last evaluated. Whoever moves it on evaluates."""

    id = models.SmallIntegerField(primary_key=True)
    begun_at = models.DateTimeField()

    class Meta:
        db_table = "alarm_evaluation"

    def __str__(self) -> str:
        return f"begun at {self.begun_at}"


class AlarmNotice(models.Model):
    """One change of an alarm's state, to be sent over one channel, once."""

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


class AlarmChange(models.Model):
    """An alarm began to fire, or ended: kept whether or not anybody was notified."""

    name = models.TextField()
    subject = models.TextField(blank=True)
    state = models.TextField(choices=AlarmState.choices)
    value = models.FloatField()
    changed_at = models.DateTimeField()

    class Meta:
        db_table = "alarm_change"
        ordering = ["-id"]
        indexes = [models.Index(fields=["changed_at"], name="alarm_change_at")]

    def __str__(self) -> str:
        return f"{self.name} {self.subject} {self.state}"


class Sample(models.Model):
    """How a consumer did in the seconds up to a moment. `consumer` is "" for the outbox: what waits in it, what was
    recorded, and the age of its oldest event.

    Ages are those of events when their handling began. None: nobody could tell, such as while the broker was away.
    """

    at = models.DateTimeField()
    seconds = models.IntegerField(help_text="How much time it covers: 10, or 300 once it is older than a day.")
    consumer = models.TextField(blank=True, db_collation="C")
    ready = models.BigIntegerField(null=True)
    workers = models.IntegerField(null=True)
    retrying = models.BigIntegerField(db_default=0, default=0)
    done = models.BigIntegerField(null=True)
    retried = models.BigIntegerField(db_default=0, default=0, help_text="Of those done, not at the first attempt.")
    dead = models.BigIntegerField(db_default=0, default=0)
    age_p50 = models.FloatField(null=True, help_text="In seconds.")
    age_p95 = models.FloatField(null=True, help_text="In seconds.")

    class Meta:
        db_table = "bus_sample"
        ordering = ["-at"]
        constraints = [models.UniqueConstraint(fields=["seconds", "at", "consumer"], name="bus_sample_once")]

    def __str__(self) -> str:
        return f"{self.consumer or 'outbox'} at {self.at:%Y-%m-%d %H:%M:%S}"


class Sampling(models.Model):
    """One row: when the last sample was taken, what was committed by then, and how far the inbox had grown at this and
    some samples before. See `eventbus.monitoring.samples`."""

    id = models.SmallIntegerField(primary_key=True)
    taken_at = models.DateTimeField()
    snapshot = models.TextField(blank=True, db_default="", default="")
    marks = models.JSONField(db_default=[], default=list)

    class Meta:
        db_table = "bus_sampling"

    def __str__(self) -> str:
        return f"taken at {self.taken_at}"
