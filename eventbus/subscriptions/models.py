"""The table of subscriptions."""

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from eventbus.replays.models import ArchiveReplay  # noqa: F401


class Subscription(models.Model):
    """Since when a consumer listens to a contract. Events from before are not missing from its inbox.

    One that is filled from the archive listens since 1970.
    """

    consumer = models.TextField()
    routing_key = models.TextField()
    since = models.DateTimeField(default=timezone.now)
    watermark = models.DateTimeField(
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
