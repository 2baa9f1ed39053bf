"""What is in Debian's packages, without installing them: nothing changes on this machine. Standard library only."""

import shutil
import subprocess
from pathlib import Path


def unpacked(package: str, folder: Path) -> Path:
    """The folder with the package's files, fetched once. Raises OSError or SubprocessError."""
    if not folder.exists():
        new = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        fetch = f"apt-get -q download {package} && dpkg -x {package}_*.deb ."
        subprocess.run(["sh", "-ec", fetch], cwd=new, capture_output=True, text=True, timeout=120, check=True)
        new.rename(folder)
    return folder
