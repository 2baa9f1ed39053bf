"""Recording: an event is stored with the change that it reports, or not at all."""
