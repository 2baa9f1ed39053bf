"""One process of the product, as a child of the tests."""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """A command that can be started, killed and started again. What it says goes to a file."""

    def __init__(self, name: str, command: Sequence[str], env: dict[str, str], log: Path) -> None:
        self.name, self.command, self.env, self.log = name, command, env, log
        self.began_at = 0
        self.env_at_start: dict[str, str] = {}
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None, f"{self.name} was never started"
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        if self._popen is None or self._popen.returncode is not None:
            return False
        # Looked at, not reaped: until `wait_for_end` has killed its group, the group's number must not be another's.
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def start(self, **env: str) -> None:
        """Start it with these variables beside its own."""
        assert not self.is_alive, f"{self.name} runs already"
        if self._popen is not None:
            self.wait_for_end(0)
        self.env_at_start = self.env | env
        self.began_at = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            # A group of its own, to be killed as one; the death signal: nothing outlives a killed test run.
            self._popen = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *self.command],
                cwd=ROOT,
                env=self.env_at_start,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill9(self) -> None:
        """End it and its children at once, as a machine that loses power would."""
        if self.is_alive:
            os.killpg(self.pid, signal.SIGKILL)
        if self._popen is not None:
            self.wait_for_end(10)

    def ask_to_end(self) -> None:
        """As a deployment would."""
        if self.is_alive:
            os.kill(self.pid, signal.SIGTERM)

    def wait_for_end(self, seconds: float) -> int:
        """Wait until it has ended by itself; returns its exit code, -9 for a kill."""
        assert self._popen is not None
        wait_until(lambda: not self.is_alive, seconds, f"the end of {self.name} ({self.pid})")
        if self._popen.returncode is None:
            # What a dead parent leaves behind would go on working.
            os.killpg(self.pid, signal.SIGKILL)
        return self._popen.wait()

    def children(self) -> list[int]:
        """The pids of its living children."""
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in found]

    @property
    def lost_children(self) -> int:
        """How many pool processes a worker has seen killed since its start."""
        return self.says().count("exited with 'signal 9")

    def says(self, since: int | None = None) -> str:
        """What it has said since its last start, or since a position of its log."""
        with self.log.open("rb") as log:
            log.seek(self.began_at if since is None else since)
            return log.read().decode(errors="replace")

    def log_lines(self) -> list[dict[str, Any]]:
        """Its structured log since its last start."""
        return [json.loads(line) for line in self.says().splitlines() if line.startswith("{")]
