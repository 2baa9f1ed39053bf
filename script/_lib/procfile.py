"""The product's processes, as the Procfile has them."""

from __future__ import annotations

from honcho.environ import parse_procfile

from script._lib.local import ROOT


def commands() -> dict[str, str]:
    """The command line of each process, by name."""
    found: dict[str, str] = parse_procfile((ROOT / "Procfile").read_text()).processes
    return found
