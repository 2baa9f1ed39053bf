"""What the bus counts. Gauges, which are read, are in `eventbus.monitoring.metrics`."""

from eventbus.metrics.declaration import counter, histogram

RECORDED = counter("eventbus_events_recorded_total", "Events committed to archive and outbox.", "type")
CONFIRMED = counter("eventbus_messages_confirmed_total", "Messages of relays that the broker has in its queues.")
REFUSED = counter("eventbus_messages_refused_total", "Messages of relays that a full or missing queue did not take.")
PROCESSED = counter("eventbus_events_processed_total", "Events whose effects the consumer has committed.", "consumer")
DUPLICATES = counter("eventbus_events_duplicate_total", "Deliveries of events that were handled before.", "consumer")
POSTPONED = counter("eventbus_events_retried_total", "Deliveries that failed and come again later.", "consumer")
DEAD = counter("eventbus_events_dead_lettered_total", "Events that the consumer has given up.", "consumer")
AGE = histogram(
    "eventbus_event_age_seconds",
    "From an event's id to the transaction of its effects. What is older than a day is replayed, and not in it.",
    "consumer",
)
RUN = histogram("eventbus_run_seconds", "A run of a consumer's handler, with all events of its batch.", "consumer")
