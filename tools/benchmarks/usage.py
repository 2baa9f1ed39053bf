"""What the kernel says of processes: how much CPU and memory they took."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU time so far, of the process and of all that descend from it, those that have ended included."""
    # utime, stime, and of the children that it has waited for: cutime, cstime.
    return sum(sum(map(int, stat[11:15])) for stat in map(_stat, family(pid)) if stat) / TICKS


def shared_memory_mb(pid: int) -> float:
    """What the process and all that descend from it hold of the machine's memory: what they share counts in parts
    (Pss)."""
    held = 0
    for member in family(pid):
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        held += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return held / 1024


def family(pid: int) -> set[int]:
    """The process and all that descend from it."""
    parents = {
        int(entry): int(stat[1]) for entry in os.listdir("/proc") if entry.isdecimal() and (stat := _stat(int(entry)))
    }
    found, more = {pid}, {pid}
    while more:
        more = {child for child, parent in parents.items() if parent in more} - found
        found |= more
    return found


def peak_memory_mb(pid: int | str) -> float:
    """The most memory that this process, without its children, ever held (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third one on; none if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
