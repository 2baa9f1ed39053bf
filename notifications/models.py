"""The mails: each is a row first, and is sent from it."""

from django.db import models
from django.db.models.functions import Now

from eventbus import new_id


class Kind(models.TextChoices):
    CONFIRMATION = "confirmation"
    APOLOGY = "apology"
    TRACKING = "tracking"
    CANCELLATION = "cancellation"


class State(models.TextChoices):
    QUEUED = "QUEUED", "queued"
    SENDING = "SENDING", "sending"
    SENT = "SENT", "sent"
    UNKNOWN = "UNKNOWN", "in doubt"
    FAILED = "FAILED", "refused"


class Mail(models.Model):
    """One mail of a kind per order, whole as it is sent. `services.deliver_mail` says what the states promise."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    order_id = models.UUIDField()
    kind = models.TextField(choices=Kind.choices)
    to = models.TextField()
    subject = models.TextField()
    text = models.TextField()
    html = models.TextField()
    message_id = models.TextField(help_text="RFC 5322. The same on every attempt, so that a reader can spot a repeat.")
    state = models.TextField(choices=State.choices, default=State.QUEUED, db_default=State.QUEUED)
    error = models.TextField(blank=True, default="", db_default="", help_text="What the last attempt ended with.")
    created_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        permissions = [("resend_mail", "Can send a mail again")]
        constraints = [models.UniqueConstraint(fields=["order_id", "kind"], name="mail_once")]
        indexes = [
            models.Index(models.functions.Upper("to"), name="mail_by_address"),
            models.Index(fields=["state"], condition=~models.Q(state="SENT"), name="mail_not_sent"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} for {self.order_id}"
