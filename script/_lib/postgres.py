"""The private PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

from script._lib.local import LOCAL, POSTGRES_PORT, fail, passwords
from script._lib.service import Service, command_line
from script._lib.waiting import comes_true

ADDRESS = f"127.0.0.1:{POSTGRES_PORT}/pipeline"


class Postgres(Service):
    name = "postgres"
    variable = "DATABASE_URL"
    ports = (POSTGRES_PORT,)
    stop_signal = signal.SIGINT  # the fast shutdown: ends sessions, keeps what is committed
    cluster = f"pipeline-{POSTGRES_PORT}"  # each of the server's processes bears it in its title

    def __init__(self) -> None:
        super().__init__()
        self.data = self.home / "data"

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    def note(self, pid: int) -> None:
        """Leaves it to the server, so that one restarted with pg_ctl is found too."""

    def tool(self, name: str) -> str:
        version = self.data / "PG_VERSION"
        wanted = version.read_text().strip() if version.exists() else "*"
        found = sorted(Path("/usr/lib/postgresql").glob(f"{wanted}/bin/{name}"), key=lambda path: int(path.parts[4]))
        if not found:
            fail(
                f"{self.data} was made by PostgreSQL {wanted}, which is missing: install it, or remove {self.home}."
                if version.exists()
                else "PostgreSQL is missing: run script/setup."
            )
        return str(found[-1])

    def as_server_user(self) -> list[str]:
        """PostgreSQL refuses to run as root, so root hands it to the user that the package made."""
        if os.geteuid() != 0:
            return []
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        if not all(parent.stat().st_mode & 0o001 for parent in self.home.parents):
            # Below a closed folder such as /root that user needs leave to pass through.
            become += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
        return become

    def give_to_server_user(self, *paths: Path) -> None:
        if os.geteuid() != 0:
            return
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            fail("there is no user `postgres` to run PostgreSQL: run script/setup.")
        for path in paths:
            shutil.chown(path, "postgres", "postgres")

    def prepare(self) -> None:
        self.give_to_server_user(self.home)
        self.clear_the_way()
        if not self.data.exists():
            self.initialise()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": POSTGRES_PORT,
            "cluster_name": self.cluster,
            # A path below a deep folder would not fit into a socket's 107 bytes.
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "256MB",
            # When a handler's transaction ended: pages show how long it took.
            "track_commit_timestamp": "on",
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] ",
            "log_lock_waits": "on",
            # Otherwise it writes down the rows that it refuses, and they may be customers'.
            "log_error_verbosity": "terse",
        }
        config = self.data / "postgresql.conf"
        write = "".join(f"{key} = '{value}'\n" for key, value in settings.items())
        config.write_text("# Written at each start. For trials use ALTER SYSTEM, which overrides this.\n" + write)
        self.give_to_server_user(config)

    def initialise(self) -> None:
        """Makes the cluster with its role and database aside, so that a half-made one is never used."""
        new = self.home / "new"
        shutil.rmtree(new, ignore_errors=True)
        password_file = self.home / "initial-password"
        password_file.touch(mode=0o600)
        password_file.write_text(passwords()["postgres"])
        self.give_to_server_user(password_file)
        options = ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        self.run([self.tool("initdb"), f"--pgdata={new}", f"--pwfile={password_file}", *options])
        password_file.unlink()
        self.run(
            [self.tool("postgres"), "--single", "-D", str(new), "postgres"],
            f"CREATE ROLE pipeline LOGIN CREATEDB PASSWORD '{passwords()['database']}';\n"
            "CREATE DATABASE pipeline OWNER pipeline;\n",
        )
        new.rename(self.data)

    def await_ready(self, started: int) -> None:
        super().await_ready(started)
        made = self.home / "roles-made"
        if not made.exists():
            self.make_application_role()
            made.touch()

    def make_application_role(self) -> None:
        """The role that the processes work as; `pipeline` owns the tables. A cluster of an earlier version lacks it."""
        self.run(
            [self.tool("psql"), "--quiet", "--no-psqlrc", f"postgresql://postgres@{ADDRESS}"],
            "SELECT 'CREATE ROLE pipeline_app' WHERE to_regrole('pipeline_app') IS NULL \\gexec\n"
            f"ALTER ROLE pipeline_app LOGIN PASSWORD '{passwords()['application']}';\n"
            "GRANT pipeline_app TO pipeline;\n",
            PGPASSWORD=passwords()["postgres"],
        )

    def run(self, command: list[str], text: str = "", **env: str) -> None:
        done = subprocess.run(
            self.as_server_user() + command,
            cwd=self.home,
            env=os.environ | env,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        with self.log.open("a") as log:
            log.write(done.stdout + done.stderr)
        if done.returncode or "ERROR:" in done.stderr:
            fail(f"{Path(command[0]).name} failed: {self.last_words()}")

    def orphans(self) -> list[int]:
        """Children that outlive a postmaster after kill -9: busy ones notice late, and hold its shared memory."""
        pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
        return [pid for pid in pids if command_line(pid).startswith(f"postgres: {self.cluster}: ".encode())]

    def clear_the_way(self) -> None:
        if not comes_true(lambda: not self.orphans(), 3):
            for pid in self.orphans():
                os.kill(pid, signal.SIGKILL)
            comes_true(lambda: not self.orphans(), 5)
        if self.pid_file.exists() and Path(f"/proc/{self.pid_file.read_text().split()[0]}").exists():
            # A zombie, or another program that got the number since: PostgreSQL would take it for itself and refuse.
            self.pid_file.unlink()

    def command(self) -> list[str]:
        return [*self.as_server_user(), self.tool("postgres"), "-D", str(self.data)]

    def answers(self) -> bool:
        url = f"postgresql://pipeline@{ADDRESS}?connect_timeout=3"
        asked = subprocess.run(
            [self.tool("psql"), "--no-psqlrc", "--tuples-only", "--command=SELECT 1", url],
            env=dict(os.environ, PGPASSWORD=passwords()["database"]),
            capture_output=True,
            text=True,
            check=False,
        )
        if "password authentication failed" in asked.stderr:
            fail(f"{LOCAL / 'secrets.json'} doesn't fit {self.data}: script/services stop, then remove {self.home}.")
        return asked.returncode == 0
