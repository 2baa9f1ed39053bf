"""What the API remembers of a request, for its repeats."""

from django.conf import settings
from django.db import models


class ChannelLimit(models.Model):
    """How often a caller may ask, where that is not CHANNEL_RATE_LIMIT."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", primary_key=True)
    per_second = models.PositiveIntegerField(
        "requests a second", help_text="Twice as many at once. 0: as many as it likes."
    )

    def __str__(self) -> str:
        return f"{self.user}: {self.per_second} a second"


class Bucket(models.Model):
    """A bucket of tokens: see `api.buckets`. Unlogged: after a crash all are full again."""

    key = models.TextField(primary_key=True)
    tokens = models.FloatField()
    granted = models.IntegerField()
    at = models.DateTimeField()

    def __str__(self) -> str:
        return self.key


class IdempotencyKey(models.Model):
    """The answer to a request that had an Idempotency-Key. `fingerprint` tells a repeat from another request."""

    # The unique constraint below is the index for it.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False)
    key = models.TextField()
    fingerprint = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField()
    response = models.TextField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotency_key_once")]

    def __str__(self) -> str:
        return f"{self.key} of {self.user_id}"
