"""What export and import agree on: a file of envelopes, one a line, and a manifest beside it that vouches for it."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import msgspec

from eventbus.contracts.codec import MAX_BODY_BYTES
from eventbus.errors import EventbusError


class Manifest(msgspec.Struct, rename="camel", frozen=True):
    """What is in the file. `first` and `last` are event ids; `from_` and what follows are the filters of the export."""

    events: int
    sha256: str
    first: UUID | None
    last: UUID | None
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    types: list[str] = []
    aggregates: list[str] = []


class ArchiveFileError(EventbusError):
    """This is not the file that its manifest describes, or not one of events. Nothing of it was stored."""


def manifest_of(file: Path) -> Path:
    """Where the manifest lies."""
    return file.with_name(f"{file.name}.manifest.json")


def read_manifest(file: Path) -> Manifest:
    """Raises ArchiveFileError where there is none that can be read."""
    try:
        return msgspec.json.decode(manifest_of(file).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise ArchiveFileError(
            f"{manifest_of(file)} is missing: nothing vouches for {file}. Export it again."
        ) from None
    except msgspec.DecodeError as error:
        raise ArchiveFileError(f"{manifest_of(file)} is not a valid manifest: {error}") from error


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """The envelopes, without their line ends. What is too long to be one comes in pieces, and so not as one."""
    while line := stream.readline(MAX_BODY_BYTES + 2):
        yield line.removesuffix(b"\n")


class Tally:
    """Counts and hashes lines on their way."""

    def __init__(self) -> None:
        self.events = 0
        self._hash = sha256()

    def add(self, line: bytes) -> None:
        self.events += 1
        self._hash.update(line)
        self._hash.update(b"\n")

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()
