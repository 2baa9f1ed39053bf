"""One process of the product, as a child of this one. Standard library only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from script._lib.local import ROOT
from script._lib.waiting import wait_until


class Process:
    """A command line that can be started, killed and started again. Thread-safe.

    What it says goes to the end of a file, or line by line to a function.
    """

    def __init__(
        self,
        name: str,
        command: str,
        env: Mapping[str, str],
        output: Path | Callable[[bytes], object],
        root: Path = ROOT,
    ) -> None:
        """`root`: where the code is that it runs."""
        self.name, self.command, self.env, self.output, self.root = name, command, env, output, root
        self.env_at_start = env
        self._log_began = 0
        self._popen: subprocess.Popen[bytes] | None = None
        self._listener: Thread | None = None
        # Held while the process comes or goes, so that a signal reaches exactly ours.
        self._changing = Lock()

    @property
    def log(self) -> Path:
        assert isinstance(self.output, Path), f"nobody keeps what {self.name} says"
        return self.output

    @property
    def pid(self) -> int:
        assert self._popen is not None, f"{self.name} was never started"
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        with self._changing:
            if self._popen is None or self._popen.returncode is not None:
                return False
            # Looked at, not reaped: until `wait` has killed its group, the group's number must not be another's.
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def start(self, **env: str) -> None:
        """Start it, with these variables beside its own."""
        assert not self.is_alive, f"{self.name} runs already"
        if self._popen is not None:
            self.wait()
        self.env_at_start = {**self.env, **env}
        with self._changing:
            if not isinstance(self.output, Path):
                self._popen = self._spawn(subprocess.PIPE)
                self._listener = Thread(target=self._listen, args=(self._popen, self.output), daemon=True)
                self._listener.start()
                return
            self._log_began = self.output.stat().st_size if self.output.exists() else 0
            with self.output.open("ab") as log:
                self._popen = self._spawn(log.fileno())

    def _spawn(self, output: int) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches only us, and it is killed with its children. The death signal: kill -9
        # of us leaves nothing behind.
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "sh", "-c", f"exec {self.command}"],
            cwd=self.root,
            env=self.env_at_start,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _listen(self, process: subprocess.Popen[bytes], listen: Callable[[bytes], object]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                listen(line)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process (SIGKILL: to its children too); nothing if it has ended."""
        with self._changing:
            if self._popen is None or self._popen.returncode is not None:
                return
            if number is signal.SIGKILL:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    def wait(self, seconds: float | None = None) -> int:
        """Wait until it has ended; returns its exit code, -9 for a kill. Raises TimeoutError."""
        assert self._popen is not None, f"{self.name} was never started"
        if self._popen.returncode is not None:
            return self._popen.returncode
        if seconds is None:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            wait_until(lambda: not self.is_alive, seconds, f"the end of {self.name} ({self.pid})")
        with self._changing:
            if self._popen.returncode is None:
                # A killed worker's pool would hold deliveries and connections.
                os.killpg(self.pid, signal.SIGKILL)
            code = self._popen.wait()
        if self._listener is not None:
            self._listener.join()
        return code

    def kill(self) -> None:
        """End it and its children at once, as a machine that loses power would."""
        self.signal(signal.SIGKILL)
        if self._popen is not None:
            self.wait(10)

    def stop(self, seconds: float = 60) -> int:
        """Ask it to end, as a deployment would, and wait until it has; returns its exit code. Raises TimeoutError."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def children(self) -> list[int]:
        """The pids of its living children, oldest first."""
        try:
            found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return []
        return [int(pid) for pid in found]

    def says(self, since: int | None = None) -> str:
        """What it has said since its last start, or since a position of its log."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_began if since is None else since)
            return log.read().decode(errors="replace")

    def log_lines(self) -> list[dict[str, Any]]:
        """Its structured log since its last start."""
        return [json.loads(line) for line in self.says().splitlines() if line.startswith("{")]
