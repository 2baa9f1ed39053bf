"""The relay: from the outbox to the broker, and what happens when that takes too long."""
