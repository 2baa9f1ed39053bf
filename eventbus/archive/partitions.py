"""Monthly partitions of the archive and the inbox, cut by the time prefix of the event's UUIDv7 (RFC 9562, 5.7)."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from uuid import UUID

from django.db import connection

from eventbus.db.clock import database_time
from eventbus.db.ddl import without_queueing
from eventbus.db.sql import fetch
from eventbus.ids import first_id_at

#: The tables, and by which column each is cut.
KEYS = {"event": "id", "processed_event": "event_id"}
PARTITIONED = tuple(KEYS)

MONTHS_AHEAD = 3

#: More rows than this are not moved out of the default partition: everybody would wait for it.
MOST_STRAYS = 20_000

EXISTING = """
SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent IN ('event'::regclass, 'processed_event'::regclass)
"""

OF_A_MONTH = re.compile(r"(event|processed_event)_(\d{4})_(\d{2})")

IN_DEFAULT = """
SELECT EXISTS (SELECT FROM event_default WHERE id >= %(start)s AND id < %(end)s)
    OR EXISTS (SELECT FROM processed_event_default WHERE event_id >= %(start)s AND event_id < %(end)s)
"""
STRAYS = "SELECT id FROM event WHERE {} UNION SELECT event_id FROM processed_event WHERE {} LIMIT %s"

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

    An event that fits none goes to the default partition. What is of a month by now, or of one that has been, goes on
    to its partition.
    """
    now = now or database_time()
    wanted = {month_start(now, ahead) for ahead in range(MONTHS_AHEAD + 1)}
    return create_partitions(sorted(wanted | months_of_strays(now)))


def months_of_strays(now: datetime) -> set[datetime]:
    """The months, up to those that get their partitions now, to which rows of the default partition belong."""
    return {month for event_id in strays() if (month := month_of(event_id, now))}


def strays(limit: int = MOST_STRAYS) -> list[UUID]:
    """The ids of the events in the default partition, in no order: what is archived and what consumers did with it."""
    return [event_id for (event_id,) in fetch(strays_query(), [limit])]


def strays_query() -> str:
    """What looks for them, up to a number."""
    known = months()
    return STRAYS.format(*(_of_no_month(table, known) for table in PARTITIONED))


def _of_no_month(table: str, known: Mapping[datetime, Sequence[str]]) -> str:
    """What is true of the rows in the default partition alone, as PostgreSQL sees when it plans. The application's role
    may read them by way of their table, and not in the partition itself."""
    key, gaps, begins = KEYS[table], [], "true"
    for month in (month for month, names in known.items() if f"{table}_{month:%Y_%m}" in names):
        first = f"{key} >= '{first_id_at(month)}'"
        if begins != first:
            gaps.append(f"{begins} AND NOT {first}")
        begins = f"{key} >= '{first_id_at(month_start(month, 1))}'"
    return " OR ".join([*gaps, begins])


def create_partitions(wanted: Iterable[datetime]) -> list[str]:
    """Create the missing partitions of these months; returns their names.

    What the default partition holds of them is moved, unless there is so much in it that all would wait: then those
    months go on there. Raises OperationalError where traffic leaves no moment for it.
    """
    existing = months()
    created = []
    for month in wanted:
        missing = [f"{table}_{month:%Y_%m}" for table in PARTITIONED]
        missing = [name for name in missing if name not in existing.get(month, [])]
        if missing and not (_is_in_default(month) and len(strays()) == MOST_STRAYS):
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


def without_strays(fill: Callable[[], None], keep: Mapping[str, str] = MappingProxyType({})) -> None:
    """Let `fill` make partitions while the default ones are empty, then put their rows where they belong. In a
    transaction that has the tables for itself.

    `keep`: of a table, which rows are kept, as SQL. The archive's rows can't be deleted, but its parts can be dropped.
    """
    with connection.cursor() as cursor:
        for table in PARTITIONED:
            cursor.execute(f"ALTER TABLE {table} DETACH PARTITION {table}_default")
            cursor.execute(f"ALTER TABLE {table}_default RENAME TO {table}_strays")
            cursor.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
        seal("event_default")
        fill()
        for table in PARTITIONED:
            cursor.execute(f"INSERT INTO {table} SELECT * FROM {table}_strays WHERE {keep.get(table, 'true')}")
            cursor.execute(f"DROP TABLE {table}_strays")


def _create(month: datetime, names: Sequence[str]) -> None:
    if _is_in_default(month):
        without_strays(lambda: _create_empty(month, names))
    else:
        _create_empty(month, names)


def _create_empty(month: datetime, names: Sequence[str]) -> None:
    for name in names:
        table = name.removesuffix(f"_{month:%Y_%m}")
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} "
                f"FOR VALUES FROM ('{first_id_at(month)}') TO ('{first_id_at(month_start(month, 1))}')"
            )
        if table == "event":
            seal(name)
