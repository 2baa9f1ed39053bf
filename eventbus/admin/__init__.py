"""Django admin of the bus, and what apps need for their own."""

from eventbus.admin import alarms, archive_replays, consumers, dead_letters, events, waiting_retries
from eventbus.admin.read_only import ReadOnlyAdmin

__all__ = ["ReadOnlyAdmin", "alarms", "archive_replays", "consumers", "dead_letters", "events", "waiting_retries"]
