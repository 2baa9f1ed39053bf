"""Rows that the measured consumers write. Without migrations: `migrate --run-syncdb` makes the tables."""

from django.db import models
from django.db.models.functions import Now


class Tally(models.Model):
    """The one row that a measured consumer writes per event."""

    event_id = models.UUIDField()
    order_id = models.UUIDField()
    total_amount = models.DecimalField(max_digits=16, decimal_places=4)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["event_id"], name="tally_once")]

    def __str__(self) -> str:
        return str(self.event_id)


class PlainInbox(models.Model):
    """The inbox that one writes by hand for a plain Celery task: a row per consumer and event."""

    event_id = models.UUIDField()
    consumer = models.TextField()
    processed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["event_id", "consumer"], name="plain_inbox_once")]

    def __str__(self) -> str:
        return f"{self.consumer} {self.event_id}"


class DailySales(models.Model):
    """Orders and money by day."""

    day = models.DateField(primary_key=True)
    orders = models.IntegerField()
    revenue = models.DecimalField(max_digits=20, decimal_places=4)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return str(self.day)


class Sales(DailySales):
    """The view that is rebuilt."""


class LoopSales(DailySales):
    """The same, filled by a loop over the archive."""
