"""The product as it runs: a database and a vhost of its own, and real processes that can be killed."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit
from uuid import UUID

import httpx
import psycopg
from django.db import connection
from psycopg import sql

from eventbus import invariants
from tests.support.ports import free_port
from tests.support.processes import ROOT, Process
from tests.support.waiting import wait_until
from tests.support.wire import Wire

T = TypeVar("T")

SCHEMA = """
CREATE TABLE effect (consumer text, event_id uuid, aggregate_id text, sequence int, pid int, at timestamptz DEFAULT now());
CREATE TABLE run (consumer text, event_id uuid, pid int, at timestamptz DEFAULT now());
CREATE TABLE broken (what text);
"""


class LiveBus:
    """Starts and stops processes by name: `relay`, `worker probe`, `web`, `flower`; `relay 2` is a second relay."""

    def __init__(self, *, name: str, database_url: str, broker_url: str, management_url: str, smtp_port: int) -> None:
        self.name = name
        self._server = database_url
        self._vhost = f"{management_url.rstrip('/')}/api/vhosts/{quote(name)}"
        self._permissions = f"{management_url.rstrip('/')}/api/permissions/{quote(name)}"
        self.broker_url = urlsplit(broker_url)._replace(path=f"/{name}").geturl()
        self.database_url = urlsplit(database_url)._replace(path=f"/{name}").geturl()
        self.wire = Wire(self.broker_url)
        self.web_port, self.flower_port = free_port(), free_port()
        self.processes: dict[str, Process] = {}
        self.env = os.environ | {
            "DATABASE_URL": self.database_url,
            "BROKER_URL": self.broker_url,
            "EMAIL_URL": f"smtp://127.0.0.1:{smtp_port}",
            "DJANGO_SETTINGS_MODULE": "tests.live_settings",
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "INFO",
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def create(self) -> None:
        """Make database and vhost, and everything in them, with the product's own commands."""
        with psycopg.connect(self._server, autocommit=True) as server:
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self.name)))
        with httpx.Client(trust_env=False, timeout=30) as http:
            http.put(self._vhost).raise_for_status()
            user = quote(urlsplit(self.broker_url).username or "")
            everything = {"configure": ".*", "write": ".*", "read": ".*"}
            http.put(f"{self._permissions}/{user}", json=everything).raise_for_status()
        with psycopg.connect(self.database_url, autocommit=True) as own:
            own.execute(SCHEMA)
        self.manage("migrate", "--verbosity", "0")
        self.manage("declare_topology")

    def destroy(self) -> None:
        """End every process, then remove vhost and database."""
        for process in self.processes.values():
            process.kill9()
        with httpx.Client(trust_env=False, timeout=30) as http:
            http.delete(self._vhost).raise_for_status()
        with psycopg.connect(self._server, autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.name)))

    @contextmanager
    def as_default_database(self) -> Iterator[None]:
        """Inside, Django in this process works on this database too."""
        connection.close()
        before = connection.settings_dict["NAME"]
        connection.settings_dict["NAME"] = self.name
        try:
            yield
        finally:
            connection.close()
            connection.settings_dict["NAME"] = before

    def manage(self, *arguments: str, expect: int = 0) -> str:
        """Run a `manage.py` command; returns what it printed. Fails on another exit code."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expect, (
            f"manage.py {' '.join(arguments)} ended with {done.returncode}, not {expect}:\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    def start(self, *names: str, failpoint: str = "", **env: str) -> None:
        """Start processes and wait until each does its work. One with a failpoint may die before that: no wait."""
        for name in names:
            process = self.processes.setdefault(name, self._process(name))
            process.start(FAILPOINT=failpoint, **env)
        for name in names:
            if not failpoint:
                wait_until(lambda name=name: self._is_ready(name), 60, f"{name} to be ready")  # type: ignore[misc]

    def ensure(self, *names: str) -> None:
        """Start those of the processes that do not run."""
        self.start(*[name for name in names if name not in self.processes or not self.processes[name].is_alive])

    def kill9(self, *names: str) -> None:
        for name in names:
            self.processes[name].kill9()

    def term(self, *names: str) -> None:
        for name in names:
            self.processes[name].term()

    def only(self, *names: str) -> None:
        """End every process but these, which run afterwards."""
        self.kill9(*(name for name, process in self.processes.items() if process.is_alive and name not in names))
        self.ensure(*names)

    def __getitem__(self, name: str) -> Process:
        return self.processes[name]

    def _process(self, name: str) -> Process:
        log = Path(self.env["TEST_LOGS"]) / f"{name.replace(' ', '-')}.log"
        return Process(name, self._command(name), self.env, log)

    def _command(self, name: str) -> list[str]:
        match name.split():
            case ["relay", *_]:
                return ["python", "manage.py", "relay"]
            case ["worker", group, *_]:
                return ["python", "manage.py", "worker", group]
            case ["web"]:
                options = f"--interface wsgi --host 127.0.0.1 --port {self.web_port} --workers 2 --blocking-threads 4"
                return ["granian", *options.split(), "config.wsgi:application"]
            case ["flower"]:
                return ["celery", "-A", "config", "flower", "--address=127.0.0.1", f"--port={self.flower_port}"]
        raise ValueError(f"Nobody knows how to start {name!r}: see LiveBus.")

    def _is_ready(self, name: str) -> bool:
        process = self.processes[name]
        assert process.is_alive, f"{name} ended at its start with {process.wait_for_end(0)}"
        match name.split():
            case ["worker", *_]:
                return "ready." in process.says()
            case ["web"]:
                return answers(f"http://127.0.0.1:{self.web_port}/health/ready")
            case ["flower"]:
                return answers(f"http://127.0.0.1:{self.flower_port}/healthcheck")
        return self.query("SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'relay'") == [(True,)]

    def query(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """Rows of a query, over a connection of its own: it works while Django's is in a transaction, or lost."""
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=5) as own:
            cursor = own.execute(statement, params)
            return cursor.fetchall() if cursor.description else []

    def effects(self, consumer: str, *event_ids: UUID) -> int:
        """How many effects these events have had at this consumer."""
        ((found,),) = self.query(
            "SELECT count(*) FROM effect WHERE consumer = %s AND event_id = ANY(%s)", consumer, list(event_ids)
        )
        return int(found)

    def runs(self, consumer: str, event_id: UUID) -> int:
        """How often the handler was started for this event."""
        ((found,),) = self.query("SELECT count(*) FROM run WHERE consumer = %s AND event_id = %s", consumer, event_id)
        return int(found)

    def outcome(self, consumer: str, event_id: UUID) -> str | None:
        """What the consumer's inbox says of the event: `done`, `dead` or nothing."""
        rows = self.query(
            "SELECT outcome FROM processed_event WHERE consumer = %s AND event_id = %s", consumer, event_id
        )
        return rows[0][0] if rows else None

    def unsettled(self) -> list[str]:
        """What is still on its way: in the outbox, or not handled by a consumer that listens."""
        waiting = [f"outbox {event_id}" for (event_id,) in self.query("SELECT event_id FROM outbox LIMIT 5")]
        return waiting + [
            f"{consumer}: {kind} {event_id}" for consumer, kind, event_id in self.query(invariants.MISSING)
        ]

    def drain(self, seconds: float = 60) -> None:
        """Wait until outbox and queues are empty: every event is handled, or a dead letter, at every consumer."""
        wait_until(lambda: not self.unsettled(), seconds, "everything to be handled")

    def verify(self) -> None:
        """The product's own check over the whole database."""
        self.manage("verify_pipeline")

    def wait_for(self, condition: Callable[[], T], what: str, seconds: float = 30) -> T:
        return wait_until(condition, seconds, what)


def answers(url: str) -> bool:
    """Whether a page is there."""
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
