"""A PgBouncer of a test's own."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg

from script._lib.waiting import wait_until
from tools.harness.ports import free_port

PROGRAM = Path("/usr/sbin/pgbouncer")
#: It refuses to be root.
AS_SOMEBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []


class PgBouncer:
    """In front of the server of this address, whatever the database; lets everybody in."""

    def __init__(self, home: Path, server_url: str, *, mode: str = "transaction", ignored: str = "") -> None:
        self.home, self.port = home, free_port()
        server = urlsplit(server_url)
        self._user = server.username
        self.server_url = server_url
        (home / "users.txt").write_text(f'"{server.username}" "{unquote(server.password or "")}"\n')
        (home / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={server.hostname} port={server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {home}/users.txt\nadmin_users = {server.username}\n"
            f"pool_mode = {mode}\ndefault_pool_size = 4\nignore_startup_parameters = {ignored}\n"
        )

    def __enter__(self) -> "PgBouncer":
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "INT", *AS_SOMEBODY, str(PROGRAM), str(self.home / "pgbouncer.ini")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, 30, "PgBouncer to start")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)

    def url(self, server_url: str) -> str:
        """The way to this database through the pooler."""
        server = urlsplit(server_url)
        return server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{self.port}").geturl()

    def clients(self, database: str) -> set[str]:
        """The names of the sessions that have come this way."""
        with self._console() as admin:
            cursor = admin.execute("SHOW CLIENTS")
            columns = [each.name for each in cursor.description or ()]
            rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
        return {row["application_name"] for row in rows if row["database"] == database}

    def reconnect(self) -> None:
        """Let no session be used any more that was opened before."""
        with self._console() as admin:
            admin.execute("RECONNECT")

    def _console(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self._admin(), autocommit=True, cursor_factory=psycopg.ClientCursor)

    def _admin(self) -> str:
        return f"host=127.0.0.1 port={self.port} user={self._user} dbname=pgbouncer connect_timeout=3"

    def _answers(self) -> bool:
        assert self._process.poll() is None, f"PgBouncer ended at its start: {(self.home / 'log').read_text()}"
        try:
            psycopg.connect(self._admin()).close()
        except psycopg.OperationalError:
            return False
        return True
