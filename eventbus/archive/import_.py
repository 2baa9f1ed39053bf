"""Events of another archive into this one: each once, with their numbers, and sent to nobody."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from eventbus.archive.files import ArchiveFileError, Manifest, Tally, lines_of, read_manifest
from eventbus.archive.models import PrunedMonth
from eventbus.archive.partitions import create_partitions, month_of
from eventbus.contracts.codec import decode
from eventbus.errors import EventbusError, InvalidEvent

#: A batch ends at this many events, or at this many bytes: what bounds the memory, and how long streams stay locked.
BATCH = 2_000
BATCH_BYTES = 4_000_000

TABLE = "CREATE TEMPORARY TABLE IF NOT EXISTS incoming (LIKE event)"
# Of an archive that grows fast the planner has no figures: left alone it reads all of it for each batch. This and
# the LATERAL below make it look each event up by an index.
BY_INDEX = "SET LOCAL enable_seqscan = off"
# The database reads the lines itself: no digit of an event passes through a float.
READ = """
INSERT INTO incoming (id, type, version, aggregate_type, aggregate_id, sequence,
                      occurred_at, correlation_id, causation_id, user_id, data)
SELECT "eventId", "eventType", version, "aggregateType", "aggregateId", sequence, "occurredAt",
       metadata->>'correlationId', (metadata->>'causationId')::uuid, metadata->>'userId', data
FROM json_to_recordset(%s::json) AS t(
    "eventId" uuid, "eventType" text, version text, "aggregateType" text, "aggregateId" text, sequence int,
    "occurredAt" timestamptz, metadata jsonb, data jsonb)
"""
# First, and in the order of RECORD in `eventbus.recording.publish`: whoever publishes to these streams waits behind us.
RAISE = """
INSERT INTO stream (aggregate_type, aggregate_id, sequence)
SELECT aggregate_type, aggregate_id, max(sequence) FROM incoming GROUP BY 1, 2 ORDER BY 1, 2
ON CONFLICT (aggregate_type, aggregate_id)
    DO UPDATE SET sequence = greatest(stream.sequence, EXCLUDED.sequence)
"""
# As text: for jsonb 0.10 and 0.1 are the same.
DIFFERENT = """
SELECT i.id FROM incoming i CROSS JOIN LATERAL (SELECT * FROM event WHERE event.id = i.id OFFSET 0) e
WHERE (i.type, i.version, i.aggregate_type, i.aggregate_id, i.sequence, i.occurred_at, i.correlation_id,
       i.causation_id, i.user_id, i.data::text)
   IS DISTINCT FROM
      (e.type, e.version, e.aggregate_type, e.aggregate_id, e.sequence, e.occurred_at, e.correlation_id,
       e.causation_id, e.user_id, e.data::text)
ORDER BY i.id LIMIT 1
"""
TAKEN = """
SELECT i.id, i.aggregate_type, i.aggregate_id, i.sequence, e.id
FROM incoming i CROSS JOIN LATERAL (
    SELECT * FROM event WHERE event.aggregate_id = i.aggregate_id AND event.sequence = i.sequence OFFSET 0
) e
WHERE e.aggregate_type = i.aggregate_type AND e.id <> i.id
ORDER BY i.id LIMIT 1
"""
STORE = """
INSERT INTO event (id, type, version, aggregate_type, aggregate_id, sequence,
                   occurred_at, correlation_id, causation_id, user_id, data)
SELECT id, type, version, aggregate_type, aggregate_id, sequence,
       occurred_at, correlation_id, causation_id, user_id, data FROM incoming ORDER BY id
ON CONFLICT (id) DO NOTHING
"""
# What comes before an aggregate's first event is not in this archive, and not a gap.
BEGIN = """
WITH beginning AS MATERIALIZED (
    SELECT aggregate_type, aggregate_id,
           (SELECT min(e.sequence) FROM event e
            WHERE e.aggregate_id = i.aggregate_id AND e.aggregate_type = i.aggregate_type) AS first
    FROM (SELECT DISTINCT aggregate_type, aggregate_id FROM incoming) AS i
), whole AS (
    DELETE FROM stream_cut c USING beginning b
    WHERE c.aggregate_type = b.aggregate_type AND c.aggregate_id = b.aggregate_id AND b.first = 1
)
INSERT INTO stream_cut (aggregate_type, aggregate_id, sequence)
SELECT aggregate_type, aggregate_id, first - 1 FROM beginning WHERE first > 1
ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE SET sequence = EXCLUDED.sequence
"""

Progress = Callable[[int], Any]


class ArchiveConflict(EventbusError):
    """The archive has something else where this event belongs. What was stored before it stays."""


@dataclass(frozen=True)
class Imported:
    """How many events are new here, and how many were here already."""

    stored: int
    skipped: int


def verify(file: Path, progress: Progress) -> tuple[Manifest, set[datetime]]:
    """Read the whole file: that it is the one of its manifest, and that we understand each of its events.

    Returns the manifest and the months of the events. Raises ArchiveFileError and OSError.
    """
    manifest, tally = read_manifest(file), Tally()
    found: set[datetime] = set()
    now = datetime.now(UTC)
    with file.open("rb") as stream:
        for line in lines_of(stream):
            tally.add(line)
            try:
                month = month_of(decode(line).envelope.event_id, now)
            except InvalidEvent as error:
                raise ArchiveFileError(f"{file}, line {tally.events} is not a valid event: {error}") from error
            if month:
                found.add(month)
            if tally.events % BATCH == 0:
                progress(tally.events)
    if (tally.events, tally.sha256) != (manifest.events, manifest.sha256):
        raise ArchiveFileError(
            f"{file} is not what its manifest says: {tally.events} events with hash {tally.sha256[:12]}…, "
            f"not {manifest.events} with {manifest.sha256[:12]}…. Copy or export it again."
        )
    return manifest, found


def refuse_pruned(wanted: Iterable[datetime]) -> None:
    """Raises ArchiveConflict for a month that was pruned here.

    Its inbox went with it: a replay would double its effects.
    """
    gone = PrunedMonth.objects.filter(month__in=[month.date() for month in wanted])
    if gone:
        named = ", ".join(str(month) for month in gone)
        raise ArchiveConflict(
            f"{named} was pruned here together with what consumers had done: a replay would do it again. "
            "Import into a database of its own."
        )


def import_from(file: Path, wanted: Iterable[datetime], progress: Progress, *, dry_run: bool = False) -> Imported:
    """Store what is not there yet, batch by batch: killed and run again, it goes on. Call verify() first.

    Raises ArchiveConflict, DatabaseError and OSError.
    """
    refuse_pruned(wanted)
    if not dry_run:
        create_partitions(sorted(wanted))
    stored = read = 0
    for batch in _batches(file):
        stored += store(batch, dry_run=dry_run)
        read += len(batch)
        progress(read)
    return Imported(stored=stored, skipped=read - stored)


def _batches(file: Path) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    with file.open("rb") as stream:
        for line in lines_of(stream):
            batch.append(line)
            size += len(line)
            if len(batch) >= BATCH or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def store(batch: list[bytes], *, dry_run: bool = False) -> int:
    """Store those of these envelopes that are not there yet, all or none; returns how many. Raises ArchiveConflict."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BY_INDEX)
        cursor.execute(TABLE)
        cursor.execute(READ, [(b"[" + b",".join(batch) + b"]").decode()])
        cursor.execute(RAISE)
        cursor.execute(DIFFERENT)
        if row := cursor.fetchone():
            raise ArchiveConflict(
                f"Event {row[0]} is here already, with other content. One of the two files is not the truth."
            )
        cursor.execute(TAKEN)
        if row := cursor.fetchone():
            new, kind, key, number, old = row
            raise ArchiveConflict(
                f"Event {new} is number {number} of {kind} {key}, and here that is event {old}: both archives went on "
                "with it. Import into a database of its own."
            )
        cursor.execute(STORE)
        stored = int(cursor.rowcount)
        cursor.execute(BEGIN)
        cursor.execute("TRUNCATE incoming")
        transaction.set_rollback(dry_run)
    return stored
