"""Releases of this project: their code, and all their processes."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from functools import partial
from itertools import count
from pathlib import Path

import httpx

from script._lib import procfile
from script._lib.local import ROOT
from script._lib.process import Process
from script._lib.waiting import wait_until
from tools.harness.laboratory import Laboratory
from tools.harness.ports import free_port
from tools.harness.readiness import is_ready

#: Production's settings, and a consumer that counts.
SETTINGS = "tools.chaos.settings"
COUNTER = "worker_chaos"


def last_release() -> str | None:
    """The last tag before what is checked out, or the commit that UPGRADE_FROM names; None where nobody knows one."""
    if commit := os.environ.get("UPGRADE_FROM"):
        return commit
    try:
        return _git("describe", "--tags", "--abbrev=0").decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def check_out(commit: str, folder: Path) -> Path:
    """The code of that commit in an empty folder, with a Python of its own where it has other requirements."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit))) as files:
        files.extractall(folder, filter="data")
    requirements = folder / "requirements.txt"
    if requirements.read_bytes() != (ROOT / requirements.name).read_bytes():
        subprocess.run([sys.executable, "-m", "venv", folder / ".venv"], check=True)
        install = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(requirements)]
        subprocess.run([interpreter_of(folder), *install], check=True)
    return folder


def interpreter_of(folder: Path) -> Path:
    """The Python that was made for what is checked out there, or ours."""
    own = folder / ".venv/bin/python"
    return own if folder != ROOT and own.exists() else Path(sys.executable)


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


class Release(Laboratory):
    """The processes of one release, in a laboratory that it may share with another."""

    def __init__(self, root: Path, home: Path, name: str, servers: Mapping[str, str], **env: str) -> None:
        """`home`: a folder for its logs and signs of life."""
        self.root, self.interpreter = root, interpreter_of(root)
        self.home, self.web_port = home, free_port()
        home.mkdir()
        super().__init__(
            name,
            servers,
            settings=SETTINGS,
            logs=home,
            LOCAL_DIR=str(home),
            PORT=str(self.web_port),
            FLOWER_PORT=str(free_port()),
            **env,
        )
        self.commands = {**procfile.commands(root), COUNTER: "python manage.py worker chaos"}
        self.processes: dict[str, Process] = {}

    def start(self, *names: str) -> None:
        """Start processes, and wait until each does its work."""
        for name in names:
            self.processes[name] = self.process(name, self.commands[name])
            self.processes[name].start()
        for name in names:
            wait_until(partial(self._works, name), 120, f"{name} of {self.root} to work")

    def _works(self, name: str) -> bool:
        process = self.processes[name]
        assert process.is_alive, f"{name} ended at its start:\n{process.says()[-3000:]}"
        # Another one of its kind may be connected already: its own sign of life is a file in its own folder.
        return is_ready(process) and (name in ("web", "flower") or (self.home / "heartbeats" / name).exists())

    def stop(self, name: str) -> int:
        """Ask a process to end, as a deployment does; returns its exit code."""
        return self.processes[name].stop(90)

    def kill_all(self) -> None:
        for process in self.processes.values():
            process.kill()

    def complaints(self) -> list[str]:
        """What its processes have said that somebody should look at: errors, also outside of the structured log."""
        return [
            f"{self.home.name} {name}: {line[:600]}"
            for name, process in self.processes.items()
            for line in process.says().splitlines()
            if _is_complaint(line)
        ]


def _is_complaint(line: str) -> bool:
    if line.startswith("{"):
        return json.loads(line).get("level") in ("error", "critical")
    return "Traceback" in line or "ERROR" in line or "CRITICAL" in line


class InTurn(httpx.BaseTransport):
    """What a load balancer does in front of the web's copies: requests go to one after the other."""

    def __init__(self, *ports: int) -> None:
        self.ports = list(ports)
        self._wires = httpx.HTTPTransport(limits=httpx.Limits(max_connections=64, max_keepalive_connections=64))
        self._turns = count()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        ports = self.ports
        request.url = request.url.copy_with(port=ports[next(self._turns) % len(ports)])
        return self._wires.handle_request(request)

    def close(self) -> None:
        self._wires.close()
