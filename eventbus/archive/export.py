"""The archive as JSON Lines: the very bytes that went on the wire, in the order of their ids."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from django.db import connection, transaction

from eventbus.archive.files import Manifest, Tally, manifest_of
from eventbus.contracts.codec import encode_envelope
from eventbus.contracts.rows import WIRE_COLUMNS, WireFields
from eventbus.ids import first_id_at

#: Rows that are fetched at once: what bounds the memory.
CHUNK = 2_000

CHOSEN = """
FROM event e
WHERE (%(first)s::uuid IS NULL OR id >= %(first)s) AND (%(end)s::uuid IS NULL OR id < %(end)s)
  AND (%(types)s::text[] = '{}' OR type = ANY(%(types)s))
  AND (%(aggregates)s::text[] = '{}' OR aggregate_id = ANY(%(aggregates)s))
"""
EXPORT = f"""
SELECT {WIRE_COLUMNS}
{CHOSEN} ORDER BY id
"""

Progress = Callable[[int], Any]


@dataclass(frozen=True)
class Chosen:
    """Which events: `since` and `until` (itself outside) by the time in their ids; empty means all."""

    since: datetime | None = None
    until: datetime | None = None
    types: list[str] = field(default_factory=list)
    aggregates: list[str] = field(default_factory=list)

    @property
    def params(self) -> dict[str, Any]:
        return {
            "first": self.since and first_id_at(self.since),
            "end": self.until and first_id_at(self.until),
            "types": self.types,
            "aggregates": self.aggregates,
        }


def count(chosen: Chosen) -> int:
    """How many events an export would have now."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) {CHOSEN}", chosen.params)
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def export_to(file: Path, chosen: Chosen, progress: Progress) -> Manifest:
    """Write the file and its manifest; whatever dies on the way, there is the old pair, the new one, or a new file
    that its manifest does not fit, which no import takes. `progress` gets the number of events so far.

    Raises OSError and DatabaseError.
    """
    part, manifest_part = (path.with_name(f"{path.name}.part") for path in (file, manifest_of(file)))
    try:
        with _private(part) as stream:
            manifest = write_to(stream, chosen, progress)
            _sync(stream)
        with _private(manifest_part) as stream:
            stream.write(msgspec.json.encode(manifest) + b"\n")
            _sync(stream)
        part.replace(file)
        manifest_part.replace(manifest_of(file))
    finally:
        part.unlink(missing_ok=True)
        manifest_part.unlink(missing_ok=True)
    return manifest


def write_to(stream: BinaryIO, chosen: Chosen, progress: Progress) -> Manifest:
    """Write the lines, as the archive is at this moment; returns what the manifest says of them."""
    tally = Tally()
    first = last = None
    for row in _rows(chosen):
        line = encode_envelope(WireFields(*row))
        stream.write(line + b"\n")
        tally.add(line)
        first, last = first or row[0], row[0]
        if tally.events % CHUNK == 0:
            progress(tally.events)
    progress(tally.events)
    return Manifest(
        events=tally.events,
        sha256=tally.sha256,
        first=first,
        last=last,
        from_=_text(chosen.since),
        to=_text(chosen.until),
        types=chosen.types,
        aggregates=chosen.aggregates,
    )


def _rows(chosen: Chosen) -> Iterator[tuple[Any, ...]]:
    # One statement, and so one snapshot: a month cannot be pruned under it, nor an event slip in behind it.
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(EXPORT, chosen.params)
        while rows := cursor.fetchmany(CHUNK):
            yield from rows


def _private(path: Path) -> BinaryIO:
    """A new file that only we may read: it holds personal data."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _sync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None
