"""UUIDv7 arithmetic (RFC 9562, 5.7): the first 48 bits of an id are its time, in milliseconds."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import uuid_utils.compat as uuid_utils

from eventbus.db import clock


def new_id() -> UUID:
    """A UUIDv7: ids made later sort later (RFC 9562). Its time is the database's, even where this clock is wrong."""
    made: UUID = uuid_utils.uuid7()
    ahead = clock.seconds_ahead()
    return UUID(int=made.int + (round(ahead * 1000) << 80)) if ahead else made


#: An id may be so far ahead of the database's clock: there are partitions for at least so long.
MOST_AHEAD = timedelta(days=60)
FROM_THE_START = UUID(int=0)

#: An event commits at most so much later than it got its id: what reads by ids looks back so far.
LATE_COMMIT = timedelta(minutes=2)


def first_id_at(moment: datetime) -> UUID:
    """The smallest UUID whose time prefix is that moment, in milliseconds. Before 1970 there are none."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


def moment_of(event_id: UUID) -> datetime:
    """The time that a UUIDv7 begins with."""
    return datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC)


def is_of_the_future(event_id: UUID) -> bool:
    """Whether a UUIDv7 is of a time for which there may be no partition yet."""
    return event_id >= first_id_at(clock.database_time() + MOST_AHEAD)


#: In SQL, of an inbox row: the seconds from its event's id to its handling. By the id's own time, so without a join.
AGE_AT_HANDLING = """extract(epoch FROM processed_at)::float8
    - ('x' || left(translate(event_id::text, '-', ''), 12))::bit(48)::bigint / 1000.0::float8"""


def seconds_since(event_id: UUID) -> float:
    """The age of an event by its id, which is a UUIDv7; never below zero."""
    return max(0.0, clock.database_time().timestamp() - (event_id.int >> 80) / 1000)
