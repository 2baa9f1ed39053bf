"""Programs from Debian's packages that nothing but a test needs: unpacked into LOCAL_DIR, not installed."""

import os
import shutil
import subprocess
from pathlib import Path


def program(package: str, path: str) -> str | None:
    """Where the program is: on PATH, or unpacked from the package; None where neither can be had."""
    if found := shutil.which(Path(path).name):
        return found
    folder = Path(os.environ["LOCAL_DIR"]).resolve() / "packages" / package
    if not (folder / path).exists():
        folder.mkdir(parents=True, exist_ok=True)
        unpack = f"apt-get -q download {package} && dpkg -x {package}_*.deb ."
        try:
            subprocess.run(["sh", "-c", unpack], cwd=folder, capture_output=True, timeout=120, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
    return str(folder / path)
