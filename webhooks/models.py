"""Partners' webhooks, what is to be delivered to each, and every attempt at it. Each delivery is a row first."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from eventbus import new_id


class State(models.TextChoices):
    ACTIVE = "ACTIVE", "active"
    PAUSED = "PAUSED", "paused by its owner"
    DISABLED = "DISABLED", "disabled by us"
    DELETED = "DELETED", "deleted"


class DeliveryState(models.TextChoices):
    WAITING = "WAITING", "waiting"
    DELIVERED = "DELIVERED", "delivered"
    FAILED = "FAILED", "given up"


class Webhook(models.Model):
    """An address of a partner, and what is told there. Only `services` writes it; a deleted one goes by `retention`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    url = models.TextField()
    description = models.TextField(blank=True, default="", db_default="")
    event_types = ArrayField(models.TextField())
    filters = models.JSONField(default=dict, blank=True, help_text="Per field of an event's data the values that pass.")
    state = models.TextField(choices=State.choices, default=State.ACTIVE, db_default=State.ACTIVE)
    disabled_because = models.TextField(blank=True, default="", db_default="")
    disabled_at = models.DateTimeField(null=True)
    secret = models.BinaryField(help_text="Encrypted: `webhooks.secrets`.")
    previous_secret = models.BinaryField(null=True)
    previous_secret_until = models.DateTimeField(null=True)
    failures = models.IntegerField(default=0, db_default=0, help_text="Attempts that failed since the last success.")
    failing_since = models.DateTimeField(null=True)
    not_before = models.DateTimeField(null=True, help_text="Nothing is sent until then: it is slow, or asked for it.")
    # What it missed is looked for in the archive, from one event id to another.
    recovering_from = models.UUIDField(null=True)
    recovering_until = models.UUIDField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        permissions = [("manage_webhook", "Can create, ping and change webhooks, and send again")]
        indexes = [models.Index(fields=["owner", "id"], name="webhook_of_owner")]

    def __str__(self) -> str:
        return self.url


class Delivery(models.Model):
    """One event for one webhook. It waits until `due_at`; while it is being sent, that is when its lease ends."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="deliveries")
    event_id = models.UUIDField()
    event_type = models.TextField()
    version = models.TextField()
    aggregate_type = models.TextField()
    aggregate_id = models.TextField()
    occurred_at = models.DateTimeField()
    state = models.TextField(
        choices=DeliveryState.choices, default=DeliveryState.WAITING, db_default=DeliveryState.WAITING
    )
    tries = models.IntegerField(default=0, db_default=0, help_text="Attempts since it was last queued.")
    due_at = models.DateTimeField(db_default=Now())
    claimed_by = models.UUIDField(null=True, help_text="The attempt that has it in hand, or had when it died.")
    error = models.TextField(blank=True, default="", db_default="", help_text="What the last attempt ended with.")
    created_at = models.DateTimeField(db_default=Now())
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "deliveries"
        constraints = [models.UniqueConstraint(fields=["webhook", "event_id"], name="webhook_delivery_once")]
        indexes = [
            models.Index(fields=["webhook", "id"], name="webhook_delivery_listed"),
            models.Index(
                fields=["webhook", "due_at"], condition=models.Q(state="WAITING"), name="webhook_delivery_due"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.event_id}"


class Attempt(models.Model):
    """One POST: when, how long, and what came back."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="attempts")
    at = models.DateTimeField()
    milliseconds = models.IntegerField()
    status = models.IntegerField(null=True, help_text="None: no answer.")
    error = models.TextField(blank=True, default="", db_default="")
    answer = models.TextField(blank=True, default="", db_default="", help_text="How the answer begins.")

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.at:%F %T}: {self.status or self.error}"
