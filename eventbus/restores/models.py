"""What is noted of backups, and of restored databases that were reconciled with the world outside."""

from django.db import models
from django.db.models.functions import Now


class BaseBackup(models.Model):
    """A base backup that succeeded. Whatever makes them notes each: `INSERT INTO base_backup DEFAULT VALUES`."""

    ended_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "base_backup"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"ended at {self.ended_at}"


class Reconciliation(models.Model):
    """A time at which database and outside agreed: when the tables were made, and after each `reconcile`."""

    reconciled_at = models.DateTimeField(db_default=Now())
    timeline = models.IntegerField(help_text="PostgreSQL's. A restore begins another one, and so does a failover.")
    restored_to = models.DateTimeField(null=True, help_text="None where nothing had been restored.")
    first_id = models.UUIDField(
        null=True, help_text="What has an older id may have had effects outside that are forgotten."
    )
    taken_back = models.IntegerField(default=0, db_default=0)
    made_again = models.IntegerField(default=0, db_default=0)
    set_aside = models.IntegerField(default=0, db_default=0)

    class Meta:
        db_table = "reconciliation"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"timeline {self.timeline}, restored to {self.restored_to}"
