"""The product's processes, as the Procfile has them."""

from __future__ import annotations

from pathlib import Path

from honcho.environ import parse_procfile

from script._lib.local import ROOT


def commands(root: Path = ROOT) -> dict[str, str]:
    """The command line of each process, by name. `root`: where the code is."""
    found: dict[str, str] = parse_procfile((root / "Procfile").read_text()).processes
    return found
