"""Token buckets in the database, one for all processes: what somebody may do so often and no oftener.

A bucket fills by `per_second` up to `burst`, and each time takes one token: https://en.wikipedia.org/wiki/Token_bucket.
"""

from dataclasses import dataclass
from math import ceil
from threading import Lock
from time import monotonic

from django.db import connection

#: Seconds' worth of tokens that a process takes at once, so that a busy caller does not cost a statement per request.
SHARE = 0.05
#: Seconds for which it may keep them.
KEEP = 1.0
#: Callers of whom a process remembers tokens.
MOST_CALLERS = 10_000

# The database's clock decides, and a step back of it takes nothing away. RETURNING shows new values alone, so the row
# says what was granted last.
_TAKE = """
INSERT INTO api_bucket AS b (key, tokens, granted, at)
VALUES (%(key)s, %(burst)s::float - %(wanted)s::int, %(wanted)s::int, clock_timestamp())
ON CONFLICT (key) DO UPDATE SET (tokens, granted, at) = (
    SELECT full_to - taken, taken, clock_timestamp()
    FROM (SELECT least(%(burst)s, b.tokens + %(per_second)s::float *
                       greatest(0, extract(epoch FROM clock_timestamp() - b.at))::float) AS full_to) AS f,
         LATERAL (SELECT least(%(wanted)s::int, floor(full_to))::int AS taken) AS t
)
RETURNING granted, tokens
"""

_EMPTY = """
SELECT count(*) FROM api_bucket WHERE starts_with(key, %(prefix)s)
AND tokens + %(per_second)s * extract(epoch FROM clock_timestamp() - at) < 1
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something may be done: `per_second` in the long run, and `burst` times at once."""

    per_second: float
    burst: int

    def seconds_for(self, tokens: float) -> float:
        """How long a bucket needs to get so many."""
        return max(0.0, tokens) / self.per_second


@dataclass(frozen=True, slots=True)
class Taken:
    """Whether there was a token, how many are `left`, and if there was none, in how many seconds there will be one."""

    granted: bool
    left: int
    retry_after: int = 0


def take(key: str, rate: Rate, wanted: int = 1) -> tuple[int, float]:
    """Take up to so many tokens; returns how many there were, and how many are left. In a statement of its own."""
    with connection.cursor() as cursor:
        cursor.execute(
            _TAKE, {"key": key, "burst": rate.burst, "per_second": rate.per_second, "wanted": min(wanted, rate.burst)}
        )
        granted, left = cursor.fetchone()
        return granted, left


def take_one(key: str, rate: Rate) -> Taken:
    """Take one, of a bucket that is seldom asked."""
    granted, left = take(key, rate)
    return Taken(granted=True, left=int(left)) if granted else _refused(left, rate)


def give_back(key: str) -> None:
    """Put back a token that was taken for nothing."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE api_bucket SET tokens = tokens + 1 WHERE key = %s", [key])


def empty_buckets(prefix: str, rate: Rate) -> int:
    """How many buckets of a kind that fills at this rate have no token now."""
    with connection.cursor() as cursor:
        cursor.execute(_EMPTY, {"prefix": prefix, "per_second": rate.per_second})
        (number,) = cursor.fetchone()
        return int(number)


def forget_full_buckets() -> int:
    """Delete the buckets that nobody has asked for a day: they are full. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM api_bucket WHERE at < clock_timestamp() - interval '1 day'")
        return int(cursor.rowcount)


def _refused(left: float, rate: Rate) -> Taken:
    return Taken(granted=False, left=0, retry_after=max(1, ceil(rate.seconds_for(1 - left))))


@dataclass(slots=True)
class _Share:
    """What this process knows of a bucket: the tokens that it holds for a while, how many it left there, and until when
    there is no other."""

    held: int
    held_until: float
    left: float
    empty_until: float


class Shares:
    """A process's way to its callers' buckets: it takes a few tokens at once, and asks about an empty bucket only when
    there can be a token.

    What is not used in time is lost to the caller, who so gets less than the rate and never more. Thread-safe.
    """

    def __init__(self) -> None:
        self._shares: dict[str, _Share] = {}
        self._lock = Lock()

    def take(self, key: str, rate: Rate) -> Taken:
        return self._from_memory(key, rate) or self._from_database(key, rate)

    def _from_memory(self, key: str, rate: Rate) -> Taken | None:
        """None: the database has to be asked."""
        now = monotonic()
        with self._lock:
            share = self._shares.get(key)
            if share is None:
                return None
            if share.held and now < share.held_until:
                share.held -= 1
                return Taken(granted=True, left=int(share.left) + share.held)
            return _refused(share.left, rate) if now < share.empty_until else None

    def _from_database(self, key: str, rate: Rate) -> Taken:
        granted, left = take(key, rate, max(1, round(rate.per_second * SHARE)))
        now = monotonic()
        share = _Share(max(0, granted - 1), now + KEEP, left, now + rate.seconds_for(1 - left))
        with self._lock:
            if len(self._shares) >= MOST_CALLERS:
                self._shares.clear()
            self._shares[key] = share
        return Taken(granted=True, left=int(left) + share.held) if granted else _refused(left, rate)
