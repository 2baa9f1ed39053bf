"""Subscriptions: who listens to what, since when, and when it last handled something."""
