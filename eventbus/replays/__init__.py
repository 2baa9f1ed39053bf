"""Archive replays: archived events are sent to one consumer that lacks them."""
