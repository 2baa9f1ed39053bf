"""A PostgreSQL of a test's own, small enough to run out of something."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from script._lib.waiting import wait_until
from tools.harness.ports import free_port

AS_SERVER_USER = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []


class SmallPostgres:
    """A server in a folder. Its role `pipeline` is an ordinary one."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "data"
        self.port = free_port()
        self.url = f"postgres://pipeline@127.0.0.1:{self.port}/postgres"
        self.owner_url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        self._server: subprocess.Popen[bytes] | None = None
        bins = Path("/usr/lib/postgresql").glob("*/bin")
        self._bin = max(bins, key=lambda path: int(path.parts[4]))

    def create(self) -> None:
        if AS_SERVER_USER:
            shutil.chown(self.home, "postgres", "postgres")
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--wal-segsize=1"]
        subprocess.run(
            [*AS_SERVER_USER, str(self._bin / "initdb"), f"--pgdata={self.data}", *options],
            check=True,
            capture_output=True,
            cwd="/",
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 20,
            "shared_buffers": "16MB",
            "min_wal_size": "2MB",
            "max_wal_size": "8MB",
            "fsync": "on",
        }
        with (self.data / "postgresql.conf").open("a") as config:
            config.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self.start()
        with psycopg.connect(self.owner_url, autocommit=True) as owner:
            owner.execute("CREATE ROLE pipeline LOGIN CREATEDB")

    @property
    def is_alive(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def start(self) -> None:
        """Start it and wait until it lets us in."""
        with (self.home.parent / f"{self.home.name}.log").open("ab") as log:
            self._server = subprocess.Popen(
                ["setpriv", "--pdeathsig", "INT", *AS_SERVER_USER, str(self._bin / "postgres"), "-D", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        wait_until(self.lets_us_in, 60, "the small PostgreSQL to start")

    def lets_us_in(self) -> bool:
        assert self.is_alive, f"PostgreSQL ended at its start: see {self.home}.log"
        try:
            psycopg.connect(self.owner_url, connect_timeout=3).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        if self._server is not None and self.is_alive:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(60)
