"""Archived events of every contract version, kept as files: what the code of today must still understand.

    python -m tests.support.event_fixtures

writes a file for each contract that has none, from the archive of the database in the environment. A file that is there
is never written again: it stands for the archives of those who run this. One of its events becomes the example that is
shown beside the published schema.
"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "fixtures/events"
SUMS = FOLDER / "SHA256SUMS"
COMMAND = "python -m tests.support.event_fixtures"


def file_of(event_type: str, version: str) -> Path:
    """Where the samples of a contract's version are, one envelope a line."""
    return FOLDER / f"{event_type}-{version}.jsonl"


def contracts() -> list[tuple[str, str]]:
    """Type and version of the product's own contracts, those of the tests left out."""
    from eventbus.contracts.registry import CONTRACTS

    return sorted((each.type, each.version) for each in CONTRACTS.values() if is_ours(each.__module__))


def is_ours(module: str) -> bool:
    """Whether a module belongs to the product."""
    from django.conf import settings

    return module.split(".")[0] in settings.INSTALLED_APPS and ".tests" not in module


def sums() -> dict[str, str]:
    """What the files were when they were written: their SHA-256 by name, in the format of sha256sum."""
    return {name: digest for digest, name in (line.split() for line in SUMS.read_text().splitlines())}


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_missing(count: int) -> tuple[list[str], list[str]]:
    """Write so many events at most of each contract that has no file; returns what was written, and what the archive
    has nothing of."""
    missing = [contract for contract in contracts() if not file_of(*contract).exists()]
    written = [file_of(*contract).name for contract in missing if write(*contract, count=count)]
    return written, [file_of(*contract).stem for contract in missing if not file_of(*contract).exists()]


def write(event_type: str, version: str, *, count: int) -> bool:
    """Keep the oldest events of this contract, as they go on the wire; returns whether there were any."""
    from django.db import connection

    from eventbus.contracts.codec import encode_envelope
    from eventbus.contracts.rows import WIRE_COLUMNS, WireFields
    from eventbus.schemas.folder import example_file_of

    oldest = f"SELECT {WIRE_COLUMNS} FROM event e WHERE type = %s AND version = %s ORDER BY id LIMIT %s"
    with connection.cursor() as cursor:
        cursor.execute(oldest, [event_type, version, count])
        lines = [encode_envelope(WireFields(*row)) + b"\n" for row in cursor.fetchall()]
    if not lines:
        return False
    file = file_of(event_type, version)
    file.write_bytes(b"".join(lines))
    example = json.dumps(json.loads(max(lines, key=len)), indent=2, ensure_ascii=False)
    beside = example_file_of(event_type, version)
    beside.parent.mkdir(exist_ok=True)
    beside.write_text(f"{example}\n")
    with SUMS.open("a") as listed:
        listed.write(f"{digest_of(file)}  {file.name}\n")
    return True


def main() -> int:
    import django

    parser = argparse.ArgumentParser(description=f"{__doc__}", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5, help="events of each contract at most (5)")
    options = parser.parse_args()
    django.setup()
    written, without = write_missing(options.count)
    print("Written:", ", ".join(written) or "nothing")
    if without:
        print("The archive has none of:", ", ".join(without), "\nRun script/server and script/demo, then this again.")
    return 1 if without else 0


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    sys.exit(main())
