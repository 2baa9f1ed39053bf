"""Kills and restarts the private servers, as `script/services` started them."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.support.waiting import wait_until


class Servers:
    """The servers of this test run. Skips the test where they are not ours to kill."""

    def __init__(self) -> None:
        self.local = Path(os.environ.get("LOCAL_DIR", ROOT / ".local"))
        env = self.local / "env"
        ours = env.read_text().splitlines() if env.exists() else []
        if not {f"{name}={os.environ[name]}" for name in ("DATABASE_URL", "BROKER_URL")} <= set(ours):
            pytest.skip("the servers are not those of script/services: not ours to kill")

    def kill(self, name: str) -> None:
        """End it at once, with no chance to say anything."""
        self._run("kill", name)

    def start(self, name: str) -> None:
        """Start it and wait until it works."""
        self._run("start", name)

    def stop_postgres_immediately(self) -> None:
        """What `pg_ctl stop -m immediate` does: every session is cut, nothing is written down."""
        pid_file = self.local / "postgres/data/postmaster.pid"
        pid = int(pid_file.read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        wait_until(lambda: not pid_file.exists(), 30, "PostgreSQL to end")

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            ["script/services", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
        )
        assert done.returncode == 0, f"script/services {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
