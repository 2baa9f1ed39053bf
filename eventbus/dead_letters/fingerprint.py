"""What makes two failures alike: the consumer, the error's class, and the place in our own code."""

from hashlib import sha256


def fingerprint(consumer: str, error_class: str, place: str) -> str:
    """The name of the group."""
    return sha256("\n".join((consumer, error_class, place)).encode()).hexdigest()[:12]
