"""Programs from Debian's packages that nothing but a test needs."""

import os
import shutil
import subprocess
from pathlib import Path

from script._lib.debian import unpacked


def program(package: str, path: str) -> str | None:
    """Where the program is: on PATH, or unpacked from the package; None where neither can be had."""
    if found := shutil.which(Path(path).name):
        return found
    try:
        return str(unpacked(package, Path(os.environ["LOCAL_DIR"]).resolve() / "packages" / package) / path)
    except (OSError, subprocess.SubprocessError):
        return None
