"""The archive: every event, append-only, by month. What apps read of it is here; the rest is the bus's own."""

from eventbus.archive.history import archive_begins
from eventbus.archive.progress import under_way
from eventbus.archive.reader import as_of, events_between, events_of, events_of_correlation, last_events_of
from eventbus.archive.retention import before_pruning
from eventbus.archive.subqueries import (
    archived,
    archived_streams,
    begun_before_restore,
    cut_streams,
    done_by,
    ids_of_months,
    stream_ends,
)
from eventbus.ids import first_id_at

__all__ = [
    "archive_begins",
    "archived",
    "archived_streams",
    "as_of",
    "before_pruning",
    "begun_before_restore",
    "cut_streams",
    "done_by",
    "events_between",
    "events_of",
    "events_of_correlation",
    "first_id_at",
    "ids_of_months",
    "last_events_of",
    "stream_ends",
    "under_way",
]
