"""Folders for the servers that a test starts for itself."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reachable_folder(name: str, mode: int = 0o755) -> Iterator[Path]:
    """A folder, gone afterwards, that a server's own user can reach: the folders that pytest makes are its user's."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))
    try:
        folder.chmod(mode)
        yield folder
    finally:
        shutil.rmtree(folder)
