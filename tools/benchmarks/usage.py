"""What the kernel says of processes: how much CPU and memory they took."""

import os
from pathlib import Path

from script._lib.process import Process

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(process: Process) -> float:
    """CPU time so far, of the process and its children."""
    # It leads a process group of its own, which its children share.
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdecimal())
    stats = (stat for pid in pids if (stat := _stat(pid)) and int(stat[2]) == process.pid)
    return sum(sum(map(int, stat[11:13])) for stat in stats) / TICKS


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
