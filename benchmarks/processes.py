"""The product's own processes, started as the Procfile starts them, and what the kernel says of them."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from honcho.environ import parse_procfile

TICKS = os.sysconf("SC_CLK_TCK")


class Running:
    """A process and its children."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def check(self) -> None:
        """Raises RuntimeError if it has ended by itself."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.log.stem} ended with code {self.process.returncode}: read {self.log}")

    def cpu_seconds(self) -> float:
        """CPU time of all of it so far."""
        return sum(sum(map(int, _stat(pid)[11:13])) for pid in self._pids()) / TICKS

    def peak_memory_mb(self) -> float:
        """The most memory that the process itself, without its children, ever held."""
        return peak_memory_mb(self.process.pid)

    def _pids(self) -> list[int]:
        # It leads a process group of its own, which its children share.
        pids = (int(entry) for entry in os.listdir("/proc") if entry.isdecimal())
        return [pid for pid in pids if (stat := _stat(pid)) and int(stat[2]) == self.process.pid]

    def stop(self) -> None:
        """End it kindly, or after a while by force."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def peak_memory_mb(pid: int | str) -> float:
    """The most memory that this process ever held (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third one on; none if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


@contextmanager
def running(command: str, *, log: str, **env: str) -> Iterator[Running]:
    """Run a command while the block lasts, what it says going to a file."""
    path = settings.LOCAL_DIR / "logs" / f"bench-{log}.log"
    with path.open("ab") as output:
        process = subprocess.Popen(
            # The death signal: kill -9 of us leaves nothing behind.
            ["setpriv", "--pdeathsig", "TERM", "sh", "-c", f"exec {command}"],
            cwd=settings.BASE_DIR,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    started = Running(process, path)
    try:
        yield started
    finally:
        started.stop()


def procfile(name: str) -> str:
    """The command of a process of the Procfile."""
    command: str = parse_procfile((settings.BASE_DIR / "Procfile").read_text()).processes[name]
    return command
