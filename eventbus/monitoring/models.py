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
