"""Private PostgreSQL, RabbitMQ and mail sink under LOCAL_DIR. Standard library only: runs before .venv exists."""

from __future__ import annotations

import argparse
import base64
import errno
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from local import (
    AMQP_PORT,
    DIST_PORT,
    EPMD_PORT,
    LOCAL,
    LOGS,
    MAIL_PORT,
    MAILBOX,
    MANAGEMENT_PORT,
    OFFSET,
    POSTGRES_PORT,
    PYTHON,
    ROOT,
    fail,
    is_external,
    passwords,
    write_env,
)

MEGABYTE = 2**20
RABBITMQ_BIN = Path("/usr/lib/rabbitmq/bin")


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits for the condition; False when the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


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


def greeting(port: int, hello: bytes = b"") -> bytes:
    """What a server says first; nothing if nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
            connection.sendall(hello)
            return connection.recv(64)
    except OSError:
        return b""


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

    def pid(self) -> int | None:
        """The server's process, if it lives and is ours: after a crash the number may be another's."""
        try:
            pid = int(self.pid_file.read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return None
        return pid if belongs_to(pid, self.home) else None

    def check_ports(self) -> None:
        for port in self.ports:
            # An outgoing connection may hold the port for a moment.
            if not wait_until(lambda port=port: port_is_free(port), 5):  # type: ignore[misc]
                fail(
                    f"{self.name}: port {port} is taken. Stop what uses it (ss -ltnp) or set another PORT_OFFSET (now {OFFSET})."
                )

    def spawn(self) -> int:
        """Starts the server's process in a session of its own, so that a Ctrl-C in the terminal doesn't reach it."""
        self.home.mkdir(mode=0o700, exist_ok=True)
        self.check_ports()
        self.prepare()
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
        self.note(process.pid)
        return process.pid

    def note(self, pid: int) -> None:
        self.pid_file.write_text(f"{pid}\n")

    def await_ready(self, started: int) -> None:
        if not wait_until(lambda: self.answers() or has_ended(started), self.patience):
            fail(f"{self.name} doesn't answer after {self.patience:.0f} s: {self.last_words()}")
        if has_ended(started) and not self.answers():
            fail(f"{self.name} ended at its start: {self.last_words()}")

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-30:] if self.log.exists() else []
        errors = [line for line in lines if "FATAL" in line or "error" in line.lower()]
        last = (errors or lines or ["nothing"])[-1].strip()
        return f"read {self.log} (it says: {last[:200]})"

    def stop(self) -> None:
        pid = self.pid()
        if pid is None:
            return
        os.kill(pid, self.stop_signal)
        if not wait_until(lambda: has_ended(pid), 60):
            self.kill(pid)

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        if not wait_until(lambda: has_ended(pid), 10):
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
            fail(f"PostgreSQL {wanted.replace('*', '')} is missing ({name}): run script/setup.")
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
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] ",
            "log_lock_waits": "on",
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

    def run(self, command: list[str], text: str = "") -> None:
        done = subprocess.run(
            self.as_server_user() + command, cwd=self.home, input=text, capture_output=True, text=True, check=False
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
        if not wait_until(lambda: not self.orphans(), 3):
            for pid in self.orphans():
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not self.orphans(), 5)
        if self.pid_file.exists() and Path(f"/proc/{self.pid_file.read_text().split()[0]}").exists():
            # A zombie, or another program that got the number since: PostgreSQL would take it for itself and refuse.
            self.pid_file.unlink()

    def command(self) -> list[str]:
        return [*self.as_server_user(), self.tool("postgres"), "-D", str(self.data)]

    def answers(self) -> bool:
        url = f"postgresql://pipeline@127.0.0.1:{POSTGRES_PORT}/pipeline?connect_timeout=3"
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


class RabbitMQ(Service):
    name = "rabbitmq"
    variable = "BROKER_URL"
    ports = (AMQP_PORT, MANAGEMENT_PORT, DIST_PORT)

    def environment(self) -> dict[str, str]:
        foreign = ("RABBITMQ_", "ERL_", "NOTIFY_SOCKET")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        return inherited | {
            "HOME": str(self.home),
            "ERL_EPMD_PORT": str(EPMD_PORT),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # Needs no host name that resolves.
            "RABBITMQ_NODENAME": "pipeline@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(AMQP_PORT),
            "RABBITMQ_DIST_PORT": str(DIST_PORT),
            "RABBITMQ_MNESIA_BASE": str(self.home / "data"),
            "RABBITMQ_LOG_BASE": str(LOGS),
            "RABBITMQ_LOGS": str(self.log),
            # Its start script then becomes the node, and our child is the node itself.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "plugins"),
            # Schedulers that wait in a busy loop take a tenth of a core from an idle node.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} "
            "+sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def prepare(self) -> None:
        if not (RABBITMQ_BIN / "rabbitmq-server").exists() or not shutil.which("epmd"):
            fail("RabbitMQ is missing: run script/setup.")
        definitions = self.home / "definitions.json"
        definitions.touch(mode=0o600)
        definitions.write_text(json.dumps(broker_definitions(passwords()["broker"]), indent=1))
        (self.home / "plugins").write_text("[rabbitmq_management].\n")
        (self.home / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{AMQP_PORT}\n"
            "management.tcp.ip = 127.0.0.1\n"
            f"management.tcp.port = {MANAGEMENT_PORT}\n"
            f"load_definitions = {definitions}\n"
            "log.file.rotation.size = 10485760\n"
            "log.file.rotation.count = 3\n"
        )
        self.start_epmd()

    @property
    def epmd_pid_file(self) -> Path:
        return self.home / "epmd-pid"

    def epmd_pid(self) -> int | None:
        if not self.epmd_pid_file.exists():
            return None
        pid = int(self.epmd_pid_file.read_text())
        return pid if belongs_to(pid, self.home) else None

    def start_epmd(self) -> None:
        """Our own name server for Erlang nodes: one that the node starts itself would outlive it unnoticed."""
        if self.epmd_pid():
            return
        if not port_is_free(EPMD_PORT):
            fail(
                f"rabbitmq: port {EPMD_PORT} is taken. Stop what uses it (ss -ltnp) or set another PORT_OFFSET (now {OFFSET})."
            )
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                ["epmd", "-port", str(EPMD_PORT), "-address", "127.0.0.1"],
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.epmd_pid_file.write_text(str(process.pid))

    def command(self) -> list[str]:
        # Not the wrapper on the PATH: Debian's changes to the user `rabbitmq`.
        return [str(RABBITMQ_BIN / "rabbitmq-server")]

    def answers(self) -> bool:
        # 1: the method frame that opens a connection; 8: a refusal, in the words of the protocol header.
        return greeting(AMQP_PORT, b"AMQP\0\0\x09\x01").startswith(b"\x01") and self.lets_us_in()

    def lets_us_in(self) -> bool:
        login = base64.b64encode(f"pipeline:{passwords()['broker']}".encode()).decode()
        request = urllib.request.Request(f"http://127.0.0.1:{MANAGEMENT_PORT}/api/whoami")
        request.add_header("Authorization", f"Basic {login}")
        # No proxy of the environment between us and our own machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=3) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        super().stop()
        if pid := self.epmd_pid():
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: has_ended(pid), 10)


def broker_definitions(password: str) -> dict[str, object]:
    """What the broker holds at its start: one user, and no `guest`."""
    salt = secrets.token_bytes(4)
    digest = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    user = {"name": "pipeline", "password_hash": digest, "hashing_algorithm": "rabbit_password_hashing_sha256"}
    policies = json.loads((ROOT / "deploy/rabbitmq/policies.json").read_text())
    return {
        "vhosts": [{"name": "/"}],
        "users": [user | {"tags": ["administrator"]}],
        "permissions": [{"user": "pipeline", "vhost": "/"} | everything],
        "policies": [{"vhost": "/"} | policy for policy in policies],
    }


class Mail(Service):
    name = "mail"
    variable = "EMAIL_URL"
    ports = (MAIL_PORT,)
    patience = 30.0

    def prepare(self) -> None:
        if not PYTHON.exists():
            fail(f"{PYTHON} is missing: run script/setup.")

    def command(self) -> list[str]:
        listen = ["--nosetuid", "--smtputf8", "--listen", f"127.0.0.1:{MAIL_PORT}"]
        return [str(PYTHON), "-m", "aiosmtpd", *listen, "--class", "aiosmtpd.handlers.Mailbox", str(MAILBOX)]

    def answers(self) -> bool:
        return greeting(MAIL_PORT).startswith(b"220")


SERVICES: dict[str, Service] = {service.name: service for service in (Postgres(), RabbitMQ(), Mail())}


def open_local() -> TextIO:
    """Makes LOCAL_DIR and holds it, until the returned file is closed, against a second run at the same time."""
    try:
        LOCAL.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"can't make {LOCAL} ({error.strerror}): set LOCAL_DIR to a folder that you may write to.")
    if LOCAL.stat().st_uid != os.geteuid():
        fail(f"{LOCAL} belongs to {LOCAL.owner()}: run as that user, remove it, or set LOCAL_DIR to another folder.")
    LOCAL.chmod(0o711)  # PostgreSQL passes through as its own user; the files with secrets are closed
    LOGS.mkdir(mode=0o700, exist_ok=True)
    lock = (LOCAL / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def start(names: list[str]) -> list[str]:
    """Starts what isn't running, waits until each is ready, and returns what was started."""
    if shutil.disk_usage(LOCAL).free < 500 * MEGABYTE:
        fail(f"less than 500 MB free for {LOCAL}: make room, or set LOCAL_DIR to a folder on another disk.")
    write_env()
    wanted = [SERVICES[name] for name in names]
    started: dict[str, int] = {}
    # All at once: the broker takes longest, and the others are ready meanwhile.
    for service in wanted:
        if not is_external(service.variable) and service.pid() is None:
            started[service.name] = service.spawn()
    for service in wanted:
        if is_external(service.variable):
            print(f"{service.name:<9} not ours: {service.variable} is set")
            continue
        service.await_ready(started.get(service.name) or service.pid() or 0)
        state = "started" if service.name in started else "was running"
        print(f"{service.name:<9} {state} on 127.0.0.1:{service.ports[0]}", flush=True)
    return list(started)


def stop(names: list[str]) -> None:
    for name in reversed(names):
        SERVICES[name].stop()
        print(f"{name:<9} stopped", flush=True)


def kill(names: list[str]) -> None:
    for name in names:
        pid = SERVICES[name].pid()
        if pid is None:
            fail(f"{name} isn't running: script/services start {name}")
        SERVICES[name].kill(pid)
        print(f"{name:<9} killed")


def status(names: list[str]) -> bool:
    """Prints a line per service; True when all of ours answer."""
    fine = True
    for service in (SERVICES[name] for name in names):
        if is_external(service.variable):
            print(f"{service.name:<9} not ours: {service.variable} is set")
            continue
        pid = service.pid()
        state = "stopped" if pid is None else "running" if service.answers() else "not answering"
        fine = fine and state == "running"
        print(f"{service.name:<9} {state:<13} pid {pid or '-':<8} port {service.ports[0]}")
    return fine


def rabbitmqctl(arguments: list[str]) -> None:
    """Becomes rabbitmqctl for our own node."""
    node = RabbitMQ()
    os.chdir(node.home)
    os.execve(RABBITMQ_BIN / "rabbitmqctl", ["rabbitmqctl", *arguments], node.environment())


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/services", description=__doc__)
    parser.add_argument("action", choices=["start", "stop", "status", "kill", "rabbitmqctl"])
    parser.add_argument(
        "names", nargs=argparse.REMAINDER, metavar="NAME", help=f"all if none is given: {', '.join(SERVICES)}"
    )
    arguments = parser.parse_args()
    if arguments.action == "rabbitmqctl":
        rabbitmqctl(arguments.names)
    if unknown := set(arguments.names) - set(SERVICES):
        fail(f"{', '.join(sorted(unknown))}: no such service. There are {', '.join(SERVICES)}.")
    if arguments.action == "kill" and not arguments.names:
        fail("kill needs a name.")
    names = [name for name in SERVICES if name in (arguments.names or SERVICES)]
    with open_local():
        if arguments.action == "status":
            raise SystemExit(0 if status(names) else 1)
        {"start": start, "stop": stop, "kill": kill}[arguments.action](names)


if __name__ == "__main__":
    main()
