"""The errors of the bus: one base, and what its users raise or catch."""

from enum import StrEnum


class Reason(StrEnum):
    """Why something became a dead letter. Stored, shown and filtered by; in SQL these are the same words."""

    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    PERMANENT = "permanent"
    KILLS_ITS_WORKER = "kills_its_worker"
    NOT_JSON = "not_json"
    TOO_LARGE = "too_large"
    INVALID_ENVELOPE = "invalid_envelope"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_VERSION = "unknown_version"
    INVALID_DATA = "invalid_data"
    NOT_SUBSCRIBED = "not_subscribed"
    EXPIRED_IN_QUEUE = "expired_in_queue"
    QUEUE_FULL = "queue_full"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


#: The reasons of what no consumer could read: the ids in such a body are only what somebody wrote.
UNREAD = frozenset(
    {
        Reason.NOT_JSON,
        Reason.TOO_LARGE,
        Reason.INVALID_ENVELOPE,
        Reason.UNKNOWN_TYPE,
        Reason.UNKNOWN_VERSION,
        Reason.INVALID_DATA,
        Reason.NOT_SUBSCRIBED,
    }
)


class EventbusError(Exception):
    """The base of every error that the bus raises by itself."""


class UnsafeJSON(EventbusError, ValueError):
    """JSON that its grammar allows, or Python's parser does, and the bus doesn't."""


class RepeatedName(UnsafeJSON):
    """A JSON object has a name twice. Each reader would take another of the two."""


class InvalidEvent(EventbusError):
    """The bytes are not an event that this code understands. Retrying cannot heal it. `reason` is one of UNREAD."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason

    def __str__(self) -> str:
        return ": ".join(self.args)


class PermanentFailure(EventbusError):
    """A handler raises it where trying again cannot help: the event becomes a dead letter at once."""


class RetryAfter(EventbusError):
    """A handler raises it where it knows when to try this one event again, such as from a Retry-After header.

    Never sooner, up to a fifth later, at most a day. Uses up no attempt; the consumer's `max_age` still holds. It says
    nothing of other events: the circuit breaker does not count it. Where everything fails alike, raise another error.
    """

    def __init__(self, seconds: float, why: str = "") -> None:
        super().__init__(seconds, why)
        self.seconds = seconds


class StreamConflict(EventbusError):
    """Something happened to the aggregate since the caller read it."""

    def __init__(self, aggregate_type: str, aggregate_id: str, expected: int, found: int) -> None:
        super().__init__(
            f"{aggregate_type} {aggregate_id} is at event {found}, not at {expected}: read it again and decide anew."
        )
        self.found = found
