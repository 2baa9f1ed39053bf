"""How long to wait after failures in a row."""

import random


def backoff(failures: int, *, first: float = 0.25, longest: float = 5.0) -> float:
    """Seconds until the next attempt: `first` doubled with each failure, at most `longest`, less up to half of it by
    chance, so that what failed together does not come back together."""
    delay: float = min(longest, first * 2 ** min(failures, 10))
    return delay * random.uniform(0.5, 1.0)
