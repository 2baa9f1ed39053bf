"""The archive: every event, append-only, by month. What apps read of it is here; the rest is the bus's own."""

from eventbus.archive.history import archive_begins
from eventbus.archive.reader import events_of
from eventbus.archive.retention import before_pruning
from eventbus.ids import first_id_at

__all__ = ["archive_begins", "before_pruning", "events_of", "first_id_at"]
