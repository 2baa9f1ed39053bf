"""Subscriptions: who listens to what, since when, and when it last heard of it."""
