"""The archive's tables."""

import json
from decimal import Decimal
from typing import Any

from django.db import models

from eventbus.contracts.exact_json import encode_json
from eventbus.contracts.rows import WireFields


class ExactDecoder(json.JSONDecoder):
    """Reads JSON numbers with a fraction as Decimal: money must not become a float on its way out of the archive."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(parse_float=Decimal, **kwargs)


class ArchivedEvent(models.Model):
    """The archive and event store: one row per published fact, append-only. Nobody has the right to change it,
    and triggers refuse whoever has it all the same."""

    id = models.UUIDField(primary_key=True, help_text="UUIDv7: its first 48 bits are the time, in milliseconds.")
    type = models.TextField()
    version = models.TextField()
    aggregate_type = models.TextField()
    aggregate_id = models.TextField()
    sequence = models.IntegerField(help_text="1, 2, 3 … within the aggregate.")
    occurred_at = models.DateTimeField()
    correlation_id = models.TextField()
    causation_id = models.UUIDField(null=True)
    user_id = models.TextField(null=True)  # noqa: DJ001  the envelope leaves the field out, rather than send ""
    data = models.JSONField(decoder=ExactDecoder)

    class Meta:
        db_table = "event"
        managed = False
        ordering = ["-id"]
        permissions = [("view_pipeline", "Can see the pipeline")]

    def __str__(self) -> str:
        return f"{self.type} {self.aggregate_id} #{self.sequence}"

    @property
    def wire_fields(self) -> WireFields:
        """The row as its message is made of it."""
        return WireFields(
            event_id=self.id,
            event_type=self.type,
            version=self.version,
            aggregate_type=self.aggregate_type,
            aggregate_id=self.aggregate_id,
            sequence=self.sequence,
            occurred_at=self.occurred_at,
            correlation_id=self.correlation_id,
            causation_id=self.causation_id,
            user_id=self.user_id,
            data=encode_json(self.data).decode(),
        )


class StreamCut(models.Model):
    """Up to which number an aggregate's events are not in the archive: pruned, or never imported."""

    pk = models.CompositePrimaryKey("aggregate_type", "aggregate_id")
    aggregate_type = models.TextField(db_collation="C")
    aggregate_id = models.TextField(db_collation="C")
    sequence = models.IntegerField()

    class Meta:
        db_table = "stream_cut"

    def __str__(self) -> str:
        return f"{self.aggregate_type} {self.aggregate_id}: {self.sequence}"


class PrunedMonth(models.Model):
    """A month whose events and inbox were dropped."""

    month = models.DateField(primary_key=True, help_text="Its first day.")
    events = models.BigIntegerField()
    pruned_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "pruned_month"
        ordering = ["month"]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"
