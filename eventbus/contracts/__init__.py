"""Contracts: what an event says, in which version, and how it is written and read."""
