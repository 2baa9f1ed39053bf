"""Replays from the archive: events that happened long ago, sent to one consumer that has not handled them."""
