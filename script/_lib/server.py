"""Runs every process of the Procfile, restarts what ends, and writes LOCAL_DIR/access.json once all answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial

from honcho.colour import get_colours
from honcho.printer import Message, Printer

from script._lib import procfile, services
from script._lib.keeper import Keeper
from script._lib.local import (
    ENV,
    LOCAL,
    MAILBOX,
    PYTHON,
    ROOT,
    fail,
    is_external,
    passwords,
    read_env_file,
    write_private,
)
from script._lib.process import Process
from script._lib.service import check_port, is_ok
from script._lib.supervisor import Supervisor

READY_WITHIN = 120
# A worker's warm shutdown waits for what it runs: half a minute under load.
STOP_WITHIN = 60


def environment() -> dict[str, str]:
    """What every process gets: the environment, then `.env`, then what the private services need."""
    env = read_env_file(LOCAL / "env") | ENV
    env |= {"LOCAL_DIR": str(LOCAL), "PYTHONUNBUFFERED": "1", "LOG_FORMAT": ENV.get("LOG_FORMAT", "console")}
    env["PATH"] = f"{PYTHON.parent}:{env['PATH']}"
    if os.geteuid() == 0:
        # Celery's advice not to be root is for servers; here it would only hide the lines that matter.
        env["PYTHONWARNINGS"] = "ignore:You're running the worker with superuser privileges"
    return env


def prepare(env: dict[str, str]) -> str:
    """Migrates and fills what is missing; returns a token of the demo channel."""
    done = subprocess.run(
        [PYTHON, "-m", "script._lib.prepare"],
        cwd=ROOT,
        env=env | {"ADMIN_PASSWORD": passwords()["admin"]},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        start_new_session=True,
    )
    if done.returncode:
        fail("the database or the broker could not be prepared: the lines above say why.")
    token: str = json.loads(done.stdout)["token"]
    return token


def access(env: dict[str, str], token: str) -> dict[str, str]:
    """Every address and log-in of the running project."""
    web = f"http://127.0.0.1:{env['PORT']}"
    flower_user, _, flower_password = env["FLOWER_BASIC_AUTH"].partition(":")
    return {
        "api": f"{web}/api/v1",
        "token": token,
        "admin": f"{web}/admin/",
        "admin_user": "admin",
        "admin_password": passwords()["admin"],
        "flower": f"http://127.0.0.1:{env['FLOWER_PORT']}",
        "flower_user": flower_user,
        "flower_password": flower_password,
        "metrics": f"{web}/metrics",
        "metrics_token": env.get("METRICS_TOKEN", ""),
        "broker_url": env["BROKER_URL"],
        "declaring_broker_url": env.get("DECLARING_BROKER_URL", ""),
        "management_url": env.get("MANAGEMENT_URL", ""),
        "database_url": env["DATABASE_URL"],
        "owner_database_url": env.get("OWNER_DATABASE_URL", ""),
        "smtp": env["EMAIL_URL"].rpartition("://")[2].rpartition("@")[2].strip("/"),
        "mailbox": "" if is_external("EMAIL_URL") else str(MAILBOX),
    }


def show(access: dict[str, str]) -> None:
    """The banner. On a terminal it has the passwords; what goes into a file or a pipe is kept by somebody."""
    admin, flower = access["admin_user"], access["flower_user"]
    if sys.stdout.isatty():
        admin, flower = f"{admin}  {access['admin_password']}", f"{flower}  {access['flower_password']}"
    print(
        f"""
    API      {access["api"]}
    Console  {access["admin"].removesuffix("admin/")}   {admin}
    Admin    {access["admin"]}   the same
    Flower   {access["flower"]}   {flower}
    Mail     {access["mailbox"] or access["smtp"]}
    Token and passwords are in {LOCAL / "access.json"}
    Ctrl-C stops everything.
""",
        flush=True,
    )


def fall_silent() -> None:
    """Nobody reads what we say any more: from now on to say something can't fail, so that the stop is complete."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.dup2(nowhere, sys.stderr.fileno())


class Server:
    """The processes of the Procfile, from the first start to the last stop."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.impatient = threading.Event()
        self.supervisors: list[Supervisor] = []
        self.began = time.time()
        self.printing = threading.Lock()
        self.printer = Printer(width=len("worker_notifications"))

    def heed_signals(self) -> None:
        """Lets Ctrl-C, SIGTERM and the end of the terminal stop everything; once more, by force."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # The thread below does it all: a handler runs in the midst of other code, and to set an event there can
            # wait for a lock that the interrupted code holds.
            signal.signal(number, lambda number, frame: None)
        threading.Thread(target=self.await_signals, args=(reading,), daemon=True).start()

    def await_signals(self, reading: int) -> None:
        while True:
            if os.read(reading, 1)[0] == signal.SIGHUP:
                fall_silent()
            if self.stopping.is_set():
                self.impatient.set()
            self.stopping.set()

    def start(self, env: dict[str, str]) -> None:
        colours = get_colours()
        own = next(colours)
        Keeper(
            services.SERVICES.values(), say=lambda name, text: self.say(name, own, text), stopping=self.stopping
        ).start()
        for name, command in procfile.commands().items():
            say = partial(self.say, name, next(colours))
            supervisor = Supervisor(Process(name, command, env, say), say=say, stopping=self.stopping)
            supervisor.start()
            self.supervisors.append(supervisor)

    def say(self, name: str, colour: str, text: bytes | str) -> None:
        try:
            with self.printing:
                self.printer.write(Message("line", text, datetime.now(), name, colour))
        except OSError:
            fall_silent()
            self.stopping.set()

    def await_ready(self, env: dict[str, str]) -> None:
        """Returns when every process works, or when a stop is wished."""
        bus = subprocess.Popen(
            [PYTHON, "manage.py", "bus_status", "--wait", str(READY_WITHIN)],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        checks: dict[str, Callable[[], bool]] = {
            name: partial(self.lives, name) for name in procfile.commands() if name not in ("web", "flower")
        }
        checks |= {
            "web": lambda: is_ok(f"http://127.0.0.1:{env['PORT']}/health/ready"),
            "flower": lambda: is_ok(f"http://127.0.0.1:{env['FLOWER_PORT']}/healthcheck"),
            "relay and queues (manage.py bus_status)": lambda: bus.poll() == 0,
        }
        deadline = time.monotonic() + READY_WITHIN
        try:
            while checks and not self.stopping.is_set():
                checks = {name: check for name, check in checks.items() if not check()}
                if bus.returncode or time.monotonic() > deadline:
                    fail(f"not ready after {READY_WITHIN} s: {', '.join(checks)}. The lines above say why.")
                self.stopping.wait(0.2)
        finally:
            bus.kill()
            said, _ = bus.communicate()
            if checks:
                print(said)

    def lives(self, name: str) -> bool:
        """Whether a process has given a sign of life since the start."""
        sign = LOCAL / "heartbeats" / name
        return sign.exists() and sign.stat().st_mtime > self.began

    def stop(self) -> None:
        """Ends every process: kindly, then, when the time is up or after a second Ctrl-C, by force."""
        self.stopping.set()
        if self.supervisors:
            print("Stopping. Ctrl-C again kills what still runs.", flush=True)
        for supervisor in self.supervisors:
            supervisor.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_WITHIN
        while any(supervisor.is_alive() for supervisor in self.supervisors):
            if self.impatient.is_set() or time.monotonic() > deadline:
                for supervisor in self.supervisors:
                    supervisor.signal(signal.SIGKILL)
            for supervisor in self.supervisors:
                supervisor.join(0.1)


def run(server: Server) -> None:
    env = environment()
    for variable in ("PORT", "FLOWER_PORT"):
        check_port(int(env[variable]), f"{variable} or PORT_OFFSET")
    # Left behind by a server that was killed; a living one would hold the ports.
    file = LOCAL / "access.json"
    file.unlink(missing_ok=True)
    token = prepare(env)
    server.start(env)
    server.await_ready(env)
    if server.stopping.is_set():
        return
    addresses = access(env, token)
    # Flower asked for the workers' queues and settings at its start, before they could answer.
    is_ok(f"{addresses['flower']}/api/workers?refresh=1", login=env["FLOWER_BASIC_AUTH"], seconds=10)
    write_private(file, json.dumps(addresses, indent=2) + "\n")
    try:
        show(addresses)
        server.stopping.wait()
    finally:
        file.unlink(missing_ok=True)


def main() -> None:
    server = Server()
    server.heed_signals()
    with services.open_local():
        ran_before = {name for name, one in services.SERVICES.items() if one.pid()}
    try:
        with services.open_local():
            services.start(list(services.SERVICES))
        if not server.stopping.is_set():
            run(server)
    finally:
        server.stop()
        with services.open_local():
            services.stop([name for name in services.SERVICES if name not in ran_before])


if __name__ == "__main__":
    main()
