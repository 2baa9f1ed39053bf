"""The product as it runs: a database and a vhost of its own, and real processes that can be killed."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psycopg
from django.db import connection
from psycopg import sql

from eventbus.broker.message import to_message
from eventbus.contracts.rows import WIRE_COLUMNS, WireFields
from eventbus.ids import FROM_THE_START
from eventbus.monitoring import deliveries
from tests.support.ports import free_port
from tests.support.processes import ROOT, Process
from tests.support.scratch import drop_database
from tests.support.waiting import wait_until
from tests.support.wire import Letter, Wire, bytes_of

T = TypeVar("T")

SCHEMA = """
CREATE TABLE effect (consumer text, event_id uuid, aggregate_id text, sequence int, pid int,
                     at timestamptz DEFAULT clock_timestamp());
CREATE INDEX ON effect (aggregate_id);
CREATE TABLE run (consumer text, event_id uuid, pid int, at timestamptz DEFAULT now());
CREATE TABLE broken (what text);
"""


class LiveBus:
    """Starts and stops processes by name: `relay`, `worker probe`, `web`, `flower`; `relay 2` is a second relay,
    `relay patient` one that does not poll; `worker trouble hasty` one whose circuit breaker probes all the time."""

    def __init__(self, *, name: str, database_url: str, broker_url: str, management_url: str, smtp_port: int) -> None:
        self.name = name
        self._server = database_url
        self._management = management_url.rstrip("/") + "/api"
        self.broker_url = urlsplit(broker_url)._replace(path=f"/{name}").geturl()
        self.database_url = urlsplit(database_url)._replace(path=f"/{name}").geturl()
        self.wire = Wire(self.broker_url)
        self.web_port, self.flower_port = free_port(), free_port()
        self.processes: dict[str, Process] = {}
        #: A failed test may have left anything behind; the next one must not fail for it.
        self.is_soiled = False
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
        user = urlsplit(self.broker_url).username
        self._ask("PUT", f"vhosts/{self.name}")
        self._ask("PUT", f"permissions/{self.name}/{user}", json={"configure": ".*", "write": ".*", "read": ".*"})
        with psycopg.connect(self.database_url, autocommit=True) as own:
            own.execute(SCHEMA)
        self.manage("migrate", "--verbosity", "0")
        self.manage("declare_topology")

    def destroy(self) -> None:
        """End every process, then remove vhost and database."""
        for process in self.processes.values():
            process.kill9()
        self._ask("DELETE", f"vhosts/{self.name}")
        drop_database(self._server, self.name)

    def management(self, what: str) -> list[dict[str, Any]]:
        """The broker's own list of `queues`, `bindings` or `exchanges` of this vhost."""
        listed: list[dict[str, Any]] = self._ask("GET", f"{what}/{self.name}").json()
        return listed

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        with httpx.Client(trust_env=False, timeout=30) as http:
            return http.request(method, f"{self._management}/{path}", **options).raise_for_status()

    def forget(self, consumer: str) -> None:
        """Remove a consumer that only one test has declared, and all traces of it."""
        for queue in (consumer, f"{consumer}.dead"):
            self._ask("DELETE", f"queues/{self.name}/{queue}")
        for table in ("subscription", "event_replay", "effect", "processed_event", "ordered_position", "dead_letter"):
            self.query(f"DELETE FROM {table} WHERE consumer = %s", consumer)

    def renew(self) -> None:
        """Begin anew with an empty database and vhost."""
        self.destroy()
        self.create()
        self.is_soiled = False

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

    def manage(self, *arguments: str, expect: int = 0, **env: str) -> str:
        """Run a `manage.py` command; returns what it printed, errors included. Fails on another exit code."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        what = f"manage.py {' '.join(arguments)} ended with {done.returncode}, not {expect}"
        assert done.returncode == expect, f"{what}:\n{done.stdout}"
        return done.stdout

    def start(self, *names: str, failpoint: str = "", **env: str) -> None:
        """Start processes, at this failpoint, and wait until each works. With a failpoint it may die at once."""
        for name in names:
            process = self.processes.setdefault(name, self._process(name))
            process.start(FAILPOINT=failpoint, **env)
        for name in names:
            wait_until(
                lambda name=name: self._is_ready(name) or not self[name].is_alive,  # type: ignore[misc]
                60,
                f"{name} to be ready",
            )

    def ensure(self, *names: str) -> None:
        """Start those of the processes that do not run."""
        self.start(*[name for name in names if name not in self.processes or not self.processes[name].is_alive])

    def restart(self, *names: str, failpoint: str = "", **env: str) -> None:
        """Kill processes where they still run, and start them, now with or without a failpoint."""
        self.kill9(*(name for name in names if name in self.processes))
        self.start(*names, failpoint=failpoint, **env)

    def kill9(self, *names: str) -> None:
        for name in names:
            self.processes[name].kill9()

    def term(self, *names: str) -> None:
        """Ask them to end, all at once, and wait until they have."""
        for name in names:
            self.processes[name].ask_to_end()
        for name in names:
            self.processes[name].wait_for_end(60)

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
            case ["relay", "patient"]:
                return ["python", "-m", "tests.support.patient_relay"]
            case ["relay", *_]:
                return ["python", "manage.py", "relay"]
            case ["worker", group, "hasty"]:
                return ["python", "-m", "tests.support.hasty_worker", group]
            case ["worker", group, *_]:
                return ["python", "manage.py", "worker", group]
            case ["dead", "letters"]:
                return ["python", "manage.py", "ingest_dead_letters"]
            case ["web"]:
                options = f"--interface wsgi --host 127.0.0.1 --port {self.web_port} --workers 2 --blocking-threads 4"
                return ["granian", *options.split(), "config.wsgi:application"]
            case ["flower"]:
                return ["celery", "-A", "config", "flower", "--address=127.0.0.1", f"--port={self.flower_port}"]
        raise ValueError(f"Nobody knows how to start {name!r}: see LiveBus.")

    def _is_ready(self, name: str) -> bool:
        process = self.processes[name]
        if not process.is_alive:
            assert process.env_at_start["FAILPOINT"], f"{name} ended at its start with {process.wait_for_end(0)}"
            return False
        match name.split():
            case ["worker", *_]:
                return "ready." in process.says()
            case ["dead", "letters"]:
                return self.query(
                    "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'dead letters'"
                ) == [(True,)]
            case ["web"]:
                return answers(f"http://127.0.0.1:{self.web_port}/health/ready")
            case ["flower"]:
                return answers(f"http://127.0.0.1:{self.flower_port}/healthcheck")
        return self.query("SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'relay'") == [(True,)]

    def query(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """Rows of a query, over a connection of its own: it works while Django's is in a transaction, or lost."""
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=5) as own:
            cursor = own.execute(statement, params)
            return cursor.fetchall() if cursor.rownumber is not None else []

    def outgoing(self, event_ids: Sequence[UUID]) -> list[Letter]:
        """Archived events as the messages that the relay would make of them."""
        rows = self.query(f"SELECT {WIRE_COLUMNS} FROM event e WHERE e.id = ANY(%s)", list(event_ids))
        messages = [to_message(WireFields(*row)) for row in rows]
        return [
            Letter(
                bytes_of(message.body),
                message.properties["application_headers"],
                {k: v for k, v in message.properties.items() if k != "application_headers"},
                message.routing_key,
            )
            for message in messages
        ]

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

    def unsettled(self) -> list[tuple[Any, ...]]:
        """What is still on its way: in the outbox, or not handled by a consumer that listens. One statement, as an
        event goes from the one to the other meanwhile."""
        waiting = "SELECT 'outbox', aggregate_id, event_id FROM outbox"
        missing = f"SELECT m.consumer, m.type, m.id FROM ({deliveries.MISSING}) AS m"
        return self.query(f"(SELECT * FROM ({waiting} LIMIT 5) AS o) UNION ALL ({missing})", FROM_THE_START, 1000)

    def drain(self, seconds: float = 60) -> None:
        """Wait until outbox and queues are empty: every event is handled, or a dead letter, at every consumer."""
        wait_until(lambda: not self.unsettled(), seconds, "everything to be handled")

    def verify(self) -> None:
        """The product's own check over the whole database."""
        self.manage("verify_pipeline")

    def empty_queues(self, *workers: str) -> None:
        """Wait until these workers have nothing left, in their queues or in their hands, and have ended."""

        def ended_with_nothing_left() -> bool:
            self.ensure(*workers)
            queues = [name for (name,) in self.query("SELECT DISTINCT consumer FROM subscription")]
            wait_until(lambda: not any(map(self.wire.ready, queues)), 60, "the queues to be empty")
            # What a worker had fetched and not begun comes back to its queue when it ends.
            self.term(*workers)
            return not any(map(self.wire.ready, queues))

        wait_until(ended_with_nothing_left, 120, f"{', '.join(workers)} to have nothing left")

    def wait_for(self, condition: Callable[[], T], what: str, seconds: float = 30) -> T:
        return wait_until(condition, seconds, what)


def answers(url: str) -> bool:
    """Whether a page is there."""
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
