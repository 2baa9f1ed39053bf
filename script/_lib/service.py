"""What the private servers have in common: a folder, a process, ports, a log. Standard library only."""

from __future__ import annotations

import base64
import errno
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from script._lib.local import LOCAL, LOGS, OFFSET, fail
from script._lib.waiting import comes_true


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def somebody_listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=3).close()
    except OSError:
        return False
    return True


def check_port(port: int, variable: str) -> None:
    """Ends the program if another one holds the port; the variable is what would move it."""
    # An outgoing connection may hold it for a while: our ports are among those that the system hands out to them.
    if port_is_free(port):
        return
    if not comes_true(lambda: port_is_free(port), 5 if somebody_listens(port) else 60):
        fail(f"port {port} is taken. Stop what uses it (ss -ltnp), or set another {variable}.")


def greeting(port: int, hello: bytes = b"", host: str = "127.0.0.1") -> bytes:
    """What a server says first; nothing if nobody answers."""
    try:
        with socket.create_connection((host, port), timeout=3) as connection:
            connection.sendall(hello)
            return connection.recv(64)
    except OSError:
        return b""


def is_ok(url: str, login: str = "", seconds: float = 3) -> bool:
    """Whether the address answers with 200."""
    request = urllib.request.Request(url)
    if login:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    # No proxy of the environment between us and our own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=seconds) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return False
    except OSError:
        return False


#: How often a server is started at most before it has to answer.
MOST_STARTS = 4


class Service:
    """One private server: its folder, its process, its ports."""

    name: str
    variable: str  # the environment variable that replaces this server by another
    ports: tuple[int, ...]
    stop_signal = signal.SIGTERM
    patience = 90.0

    def __init__(self) -> None:
        self.home = LOCAL / self.name
        self.log = LOGS / f"{self.name}.log"
        self.starts = 0
        self.log_began = 0

    def prepare(self) -> None:
        """Makes what the server needs to start."""
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def answers(self) -> bool:
        """Whether the server does its work for us, not only that it runs."""
        raise NotImplementedError

    @property
    def pid_file(self) -> Path:
        return self.home / "pid"

    @property
    def stop_note(self) -> Path:
        """There while the server is stopped because somebody wished it, so that nobody starts it again by himself."""
        return self.home / "stopped"

    def has_died(self) -> bool:
        """Whether it was started, and ended though nobody wished it."""
        return self.home.exists() and not self.stop_note.exists() and self.pid() is None

    def pid(self) -> int | None:
        """The server's process, if it lives and is ours: after a crash the number may be another's."""
        try:
            pid = int(self.pid_file.read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return None
        return pid if belongs_to(pid, self.home) else None

    def spawn(self) -> int:
        """Starts the server's process in a session of its own, so that a Ctrl-C in the terminal doesn't reach it."""
        self.home.mkdir(mode=0o700, exist_ok=True)
        for port in self.ports:
            check_port(port, f"PORT_OFFSET (now {OFFSET})")
        self.prepare()
        self.stop_note.unlink(missing_ok=True)
        self.starts += 1
        self.log_began = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command(),
                cwd=self.home,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # It outlives us, and is known by its pid alone: nothing of it is left for Popen to complain about.
        process.returncode = 0
        self.note(process.pid)
        return process.pid

    def note(self, pid: int) -> None:
        self.pid_file.write_text(f"{pid}\n")

    def await_ready(self, started: int) -> None:
        if not comes_true(lambda: self.answers() or has_ended(started), self.patience):
            fail(f"{self.name} doesn't answer after {self.patience:.0f} s: {self.last_words()}")
        if not has_ended(started) or self.answers():
            return
        if not self.lost_its_port() or self.starts == MOST_STARTS:
            fail(f"{self.name} ended at its start: {self.last_words()}")
        self.await_ready(self.spawn())

    def lost_its_port(self) -> bool:
        """Whether somebody else took the port while it started: our ports are among those that the system hands out
        to outgoing connections."""
        if not self.starts:
            return False
        with self.log.open("rb") as log:
            log.seek(self.log_began)
            said = log.read().lower()
        return b"eaddrinuse" in said or b"address already in use" in said

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-30:] if self.log.exists() else []
        errors = [line for line in lines if "FATAL" in line or "error" in line.lower()]
        last = (errors or lines or ["nothing"])[-1].strip()
        return f"read {self.log} (it says: {last[:200]})"

    def stop(self) -> None:
        if self.home.exists():
            self.stop_note.touch()
        pid = self.pid()
        if pid is None:
            return
        os.kill(pid, self.stop_signal)
        if not comes_true(lambda: has_ended(pid), 60):
            self.kill(pid)

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        if not comes_true(lambda: has_ended(pid), 10):
            fail(f"{self.name}: process {pid} survives kill -9. Look at its state: ps -o stat,wchan -p {pid}")


def has_ended(pid: int) -> bool:
    """True for zombies too: some containers have no init that reaps them."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # not our child: started by an earlier run
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def belongs_to(pid: int, home: Path) -> bool:
    """Whether the process lives and works in that folder."""
    if has_ended(pid):
        return False
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(home)
    except FileNotFoundError:
        return False
    except PermissionError:
        # In a container root can't look into other users' processes, but may read their command line.
        return os.fsencode(home) in command_line(pid)


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
