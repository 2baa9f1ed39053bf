"""Retries: a failed delivery is a row until it is due, then a relay sends it to its consumer's queue once more."""
