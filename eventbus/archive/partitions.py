"""Monthly partitions of the archive and the inbox, cut by the time prefix of the event's UUIDv7 (RFC 9562, 5.7)."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from django.db import connection

from eventbus.db.ddl import without_queueing
from eventbus.ids import first_id_at

PARTITIONED = ("event", "processed_event")

MONTHS_AHEAD = 3

EXISTING = """
SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent IN ('event'::regclass, 'processed_event'::regclass)
"""

OF_A_MONTH = re.compile(r"(event|processed_event)_(\d{4})_(\d{2})")

IN_DEFAULT = """
SELECT EXISTS (SELECT FROM event_default WHERE id >= %(start)s AND id < %(end)s)
    OR EXISTS (SELECT FROM processed_event_default WHERE event_id >= %(start)s AND event_id < %(end)s)
"""

# Neither privileges nor triggers for whole statements come down from the parent.
SEAL = """
DO $$ BEGIN
    REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM CURRENT_USER, PUBLIC;
    CREATE OR REPLACE TRIGGER event_is_not_truncated BEFORE TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
END $$
"""


def month_start(moment: datetime, ahead: int = 0) -> datetime:
    """The first moment of the month that lies `ahead` months after the given one, in UTC."""
    years, month = divmod(moment.month - 1 + ahead, 12)
    return datetime(moment.year + years, month + 1, 1, tzinfo=UTC)


def month_of(event_id: UUID, now: datetime) -> datetime | None:
    """The month whose partition an id belongs to; None for one that is not a UUIDv7, or is of the future."""
    milliseconds = event_id.int >> 80
    if event_id.version != 7 or milliseconds >= month_start(now, MONTHS_AHEAD + 1).timestamp() * 1000:
        return None
    return month_start(datetime.fromtimestamp(milliseconds / 1000, UTC))


def months() -> dict[datetime, list[str]]:
    """The months that have partitions, the oldest first, each with the names of its tables."""
    with connection.cursor() as cursor:
        cursor.execute(EXISTING)
        names = sorted(name for (name,) in cursor.fetchall())
    found: dict[datetime, list[str]] = {}
    for name in names:
        match = OF_A_MONTH.fullmatch(name)
        if match:
            found.setdefault(datetime(int(match[2]), int(match[3]), 1, tzinfo=UTC), []).append(name)
    return dict(sorted(found.items()))


def ensure_partitions(now: datetime | None = None) -> list[str]:
    """Create the partitions of this month and the next ones where they are missing; returns the new ones' names.

    An event that fits none (a foreign clock, an id that is not a UUIDv7) goes to the default partition.
    """
    now = now or datetime.now(UTC)
    return create_partitions(month_start(now, ahead) for ahead in range(MONTHS_AHEAD + 1))


def create_partitions(wanted: Iterable[datetime]) -> list[str]:
    """Create the missing partitions of these months; returns their names.

    A month of which the default partition holds rows goes on there: PostgreSQL would refuse its partition. Raises
    OperationalError where traffic leaves no moment for it.
    """
    existing = months()
    created = []
    for month in wanted:
        missing = [f"{table}_{month:%Y_%m}" for table in PARTITIONED]
        missing = [name for name in missing if name not in existing.get(month, [])]
        if missing and not _is_in_default(month):
            without_queueing(lambda month=month, names=missing: _create(month, names))  # type: ignore[misc]
            created += missing
    return sorted(created)


def seal(table: str) -> None:
    """Let nobody change this part of the archive, its owner included."""
    with connection.cursor() as cursor:
        cursor.execute(SEAL.format(table=table))


def _is_in_default(month: datetime) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(IN_DEFAULT, {"start": first_id_at(month), "end": first_id_at(month_start(month, 1))})
        row = cursor.fetchone()
    return bool(row and row[0])


def _create(month: datetime, names: Iterable[str]) -> None:
    for name in names:
        table = name.removesuffix(f"_{month:%Y_%m}")
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} "
                f"FOR VALUES FROM ('{first_id_at(month)}') TO ('{first_id_at(month_start(month, 1))}')"
            )
        if table == "event":
            seal(name)
