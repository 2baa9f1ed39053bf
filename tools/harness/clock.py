"""Clocks that are wrong, by libfaketime."""

from pathlib import Path

#: None where the package faketime is not installed.
LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)


def wrong_by(offset: str) -> dict[str, str]:
    """The environment of a process whose clock is off, as in `-1h`. Raises RuntimeError without libfaketime."""
    if LIBRARY is None:
        raise RuntimeError("There is no libfaketime: install the package faketime.")
    return {"LD_PRELOAD": str(LIBRARY), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
