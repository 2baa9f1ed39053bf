"""What became of events: the story of a thing, from the first event to the last outcome. For pages and commands."""

from eventbus.traces.outcomes import TracedDelivery, TraceState
from eventbus.traces.reading import (
    EventKey,
    event_key,
    event_types,
    latest_events,
    story_of_correlation,
    story_of_things,
)
from eventbus.traces.story import Story, TracedEvent

__all__ = [
    "EventKey",
    "Story",
    "TraceState",
    "TracedDelivery",
    "TracedEvent",
    "event_key",
    "event_types",
    "latest_events",
    "story_of_correlation",
    "story_of_things",
]
