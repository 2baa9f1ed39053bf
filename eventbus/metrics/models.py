"""The totals of all processes, since the database was made."""

from django.db import models


class Total(models.Model):
    """How far a counter has come. `labels`: their values, with a blank between them. `part`: of a histogram, the upper
    bound of the bucket or `sum`."""

    metric = models.TextField(db_collation="C")
    labels = models.TextField(blank=True, db_collation="C")
    part = models.TextField(blank=True, db_collation="C")
    value = models.FloatField()

    class Meta:
        db_table = "bus_total"
        ordering = ["metric", "labels", "part"]
        constraints = [models.UniqueConstraint(fields=["metric", "labels", "part"], name="bus_total_once")]

    def __str__(self) -> str:
        return f"{self.metric} {self.labels} {self.part}".rstrip()
