"""Archived events as rows: the columns that a message body is made of."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class WireFields:
    """The columns of the archive that a message body is made of; `data` is JSON text, spliced in unparsed."""

    event_id: UUID
    event_type: str
    version: str
    aggregate_type: str
    aggregate_id: str
    sequence: int
    occurred_at: datetime
    correlation_id: str
    causation_id: UUID | None
    user_id: str | None
    data: str


#: What a query of the table `event`, called `e`, selects for WireFields(*row).
WIRE_COLUMNS = """e.id, e.type, e.version, e.aggregate_type, e.aggregate_id, e.sequence, e.occurred_at,
       e.correlation_id, e.causation_id, e.user_id, e.data::text"""
