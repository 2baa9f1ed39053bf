"""Monthly partitions of the archive and the inbox, cut by the time prefix of the event's UUIDv7 (RFC 9562, 5.7)."""

from datetime import UTC, datetime
from uuid import UUID

from django.db import connection

PARTITIONED = ("event", "processed_event")
MONTHS_AHEAD = 3


def first_id_at(moment: datetime) -> UUID:
    """The smallest UUID whose time prefix is that moment, in milliseconds."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def month_start(moment: datetime, ahead: int = 0) -> datetime:
    """The first moment of the month that lies `ahead` months after the given one, in UTC."""
    years, month = divmod(moment.month - 1 + ahead, 12)
    return datetime(moment.year + years, month + 1, 1, tzinfo=UTC)


def ensure_partitions(now: datetime | None = None) -> list[str]:
    """Create the partitions of this month and the next ones where they are missing; returns the new ones' names.

    An event that fits none (a foreign clock, an id that is no UUIDv7) goes to the default partition.
    """
    now = now or datetime.now(UTC)
    created = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits")
        existing = {name for (name,) in cursor.fetchall()}
        for table in PARTITIONED:
            for ahead in range(MONTHS_AHEAD + 1):
                start, end = month_start(now, ahead), month_start(now, ahead + 1)
                name = f"{table}_{start:%Y_%m}"
                if name in existing:
                    continue
                cursor.execute(
                    f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} "
                    f"FOR VALUES FROM ('{first_id_at(start)}') TO ('{first_id_at(end)}')"
                )
                created.append(name)
    return created
