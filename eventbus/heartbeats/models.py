"""The processes and their signs of life."""

from django.db import models


class Heartbeat(models.Model):
    """A process, and when its work last went round, by the database's clock. See `eventbus.heartbeats.beating`."""

    kind = models.TextField(help_text="What it does, as the Procfile calls it.")
    host = models.TextField()
    pid = models.IntegerField()
    code_version = models.TextField()
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()

    class Meta:
        db_table = "heartbeat"
        ordering = ["kind", "-beat_at"]
        constraints = [models.UniqueConstraint(fields=["kind", "host", "pid"], name="heartbeat_once")]

    def __str__(self) -> str:
        return f"{self.kind}, process {self.pid} on {self.host}"
