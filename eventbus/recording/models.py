"""The table of streams."""

from django.db import models


class Stream(models.Model):
    """How many events an aggregate has. Its row's lock puts the aggregate's events in commit order."""

    pk = models.CompositePrimaryKey("aggregate_type", "aggregate_id")
    aggregate_type = models.TextField()
    aggregate_id = models.TextField()
    sequence = models.IntegerField()

    class Meta:
        db_table = "stream"
        managed = False

    def __str__(self) -> str:
        return f"{self.aggregate_type} {self.aggregate_id}"
