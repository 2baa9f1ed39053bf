"""Private PostgreSQL, RabbitMQ and mail sink under LOCAL_DIR. Standard library only: runs before .venv exists."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
from typing import TextIO

from script._lib.local import LOCAL, LOGS, MAIL_PORT, MAILBOX, PYTHON, ROOT, fail, is_external, write_env
from script._lib.postgres import Postgres
from script._lib.rabbitmq import RabbitMQ, every_version
from script._lib.service import Service, greeting

MEGABYTE = 2**20


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
        keep = ["--class", "script._lib.kept_mails.KeptMails", str(MAILBOX)]
        return [str(PYTHON), "-m", "aiosmtpd", *listen, *keep]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONPATH": str(ROOT)}

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


def start(names: list[str]) -> None:
    """Starts what isn't running and waits until each is ready."""
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


def stop(names: list[str]) -> None:
    for name in reversed(names):
        # Who stops it need not know which version was started.
        for service in every_version() if name == "rabbitmq" else [SERVICES[name]]:
            service.stop()
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/services", description=__doc__)
    parser.add_argument("action", choices=["start", "stop", "status", "kill", "rabbitmqctl"])
    which = f"{', '.join(SERVICES)}; all if none is given. For rabbitmqctl: its arguments"
    parser.add_argument("names", nargs=argparse.REMAINDER, metavar="NAME", help=which)
    arguments = parser.parse_args()
    if arguments.action == "rabbitmqctl":
        RabbitMQ().become_rabbitmqctl(arguments.names)
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
