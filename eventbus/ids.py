"""UUIDv7 arithmetic (RFC 9562, 5.7): the first 48 bits of an id are its time, in milliseconds."""

from datetime import UTC, datetime
from uuid import UUID

import uuid_utils.compat as uuid_utils


def new_id() -> UUID:
    """A UUIDv7: ids made later sort later (RFC 9562)."""
    return uuid_utils.uuid7()


FROM_THE_START = UUID(int=0)


def first_id_at(moment: datetime) -> UUID:
    """The smallest UUID whose time prefix is that moment, in milliseconds."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def seconds_since(event_id: UUID) -> float:
    """The age of an event by its id, which is a UUIDv7; never below zero."""
    return max(0.0, datetime.now(UTC).timestamp() - (event_id.int >> 80) / 1000)
