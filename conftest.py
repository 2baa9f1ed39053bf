"""What holds for the tests of every app."""

from eventbus.testing.fixtures import no_events_left_over

__all__ = ["no_events_left_over"]
