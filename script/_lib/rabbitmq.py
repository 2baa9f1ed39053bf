"""The private RabbitMQ node, with a name server (epmd) of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import NoReturn

from script._lib.local import (
    AMQP_PORT,
    DIST_PORT,
    ENV,
    EPMD_PORT,
    LOCAL,
    LOGS,
    MANAGEMENT_PORT,
    OFFSET,
    ROOT,
    fail,
    passwords,
)
from script._lib.platforms import BY_RABBITMQ, Unavailable
from script._lib.service import Service, belongs_to, check_port, greeting, has_ended, is_ok
from script._lib.waiting import comes_true

# Not the wrappers on the PATH: Debian's change to the user `rabbitmq`.
RABBITMQ_BIN = Path("/usr/lib/rabbitmq/bin")
#: The version to run; empty: the one that is installed.
VERSION = ENV.get("PRIVATE_RABBITMQ", "")
if VERSION and VERSION not in BY_RABBITMQ:
    fail(f"PRIVATE_RABBITMQ is {VERSION!r}: set it to {' or '.join(BY_RABBITMQ)}, or leave it out.")
#: Where it runs; None: on this machine as it is.
PLATFORM = BY_RABBITMQ.get(VERSION)


class RabbitMQ(Service):
    name = "rabbitmq"
    variable = "BROKER_URL"
    host = "127.0.0.1"
    amqp, management = AMQP_PORT, MANAGEMENT_PORT
    ports: tuple[int, ...] = (AMQP_PORT, MANAGEMENT_PORT, DIST_PORT)

    def __init__(self) -> None:
        super().__init__()
        if PLATFORM:
            # What one version has written another may not read.
            self.home = self.home.with_name(f"{self.name}-{VERSION}")

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
        if PLATFORM:
            try:
                PLATFORM.make()
            except Unavailable as error:
                fail(f"RabbitMQ {VERSION} can't run: {error}")
        elif not (RABBITMQ_BIN / "rabbitmq-server").exists() or not shutil.which("epmd"):
            fail("RabbitMQ is missing: run script/setup.")
        definitions = self.home / "definitions.json"
        definitions.touch(mode=0o600)
        definitions.write_text(json.dumps(broker_definitions(), indent=1))
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
        check_port(EPMD_PORT, f"PORT_OFFSET (now {OFFSET})")
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*self.entrance(), "epmd", "-port", str(EPMD_PORT), "-address", "127.0.0.1"],
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # It outlives us, and is known by its pid alone: nothing of it is left for Popen to complain about.
        process.returncode = 0
        self.epmd_pid_file.write_text(str(process.pid))

    def entrance(self) -> list[str]:
        """What a command line begins with to run where this node does."""
        return PLATFORM.enter(LOCAL) if PLATFORM else []

    def command(self) -> list[str]:
        return [*self.entrance(), str(RABBITMQ_BIN / "rabbitmq-server")]

    def answers(self) -> bool:
        # 1: the method frame that opens a connection; 8: a refusal, in the words of the protocol header.
        is_open = greeting(self.amqp, b"AMQP\0\0\x09\x01", self.host).startswith(b"\x01")
        login = f"pipeline_admin:{passwords()['broker_admin']}"
        return is_open and is_ok(f"http://{self.host}:{self.management}/api/whoami", login=login)

    def stop(self) -> None:
        super().stop()
        if pid := self.epmd_pid():
            os.kill(pid, signal.SIGTERM)
            comes_true(lambda: has_ended(pid), 10)

    def become_rabbitmqctl(self, arguments: list[str]) -> NoReturn:
        """Replaces this process by rabbitmqctl for our own node."""
        if self.pid() is None:
            fail("rabbitmq isn't running: script/services start rabbitmq")
        os.chdir(self.home)
        command = [*self.entrance(), str(RABBITMQ_BIN / "rabbitmqctl"), *arguments]
        os.execvpe(command[0], command, self.environment())


def every_version() -> list[RabbitMQ]:
    """The private broker in each version that somebody may have started here."""
    brokers = []
    for folder in ("rabbitmq", *(f"rabbitmq-{version}" for version in BY_RABBITMQ)):
        broker = RabbitMQ()
        broker.home = LOCAL / folder
        brokers.append(broker)
    return brokers


#: The broker's users: which password is theirs, what the management API shows them, and their rights by the name that
#: deploy/rabbitmq/permissions.json has for them. The administrator is for people and tests.
USERS = {
    "pipeline": ("broker", [], "application"),
    "pipeline_declaring": ("declaring", ["monitoring"], "declaring"),
    "pipeline_admin": ("broker_admin", ["administrator"], "declaring"),
}


def rights() -> dict[str, dict[str, str]]:
    """What each user may do in a virtual host of ours."""
    named = json.loads((ROOT / "deploy/rabbitmq/permissions.json").read_text())
    return {user: named[role] for user, (_, _, role) in USERS.items()}


def broker_definitions() -> dict[str, object]:
    """What the broker holds at its start: our users, and no `guest`."""
    policies = json.loads((ROOT / "deploy/rabbitmq/policies.json").read_text())
    return {
        "vhosts": [{"name": "/"}],
        "users": [
            {"name": user, "tags": tags} | _hashed(passwords()[password]) for user, (password, tags, _) in USERS.items()
        ],
        "permissions": [{"user": user, "vhost": "/"} | right for user, right in rights().items()],
        "policies": [{"vhost": "/"} | policy for policy in policies],
    }


def _hashed(password: str) -> dict[str, str]:
    salt = secrets.token_bytes(4)
    digest = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    return {"password_hash": digest, "hashing_algorithm": "rabbit_password_hashing_sha256"}
