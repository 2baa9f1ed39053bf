"""The product as it runs: a database and a vhost of its own, and real processes that can be killed."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection

from eventbus.broker.message import to_message
from eventbus.contracts.rows import WIRE_COLUMNS, WireFields
from script._lib import procfile
from script._lib.process import Process
from script._lib.waiting import wait_until
from tests.support.wire import Letter, Wire, bytes_of
from tools.harness import effects
from tools.harness.laboratory import Laboratory
from tools.harness.ports import free_port
from tools.harness.readiness import is_ready

T = TypeVar("T")

#: How long a drain may take at most, in seconds.
DRAIN = 300
SERVERS = ("DATABASE_URL", "OWNER_DATABASE_URL", "BROKER_URL", "DECLARING_BROKER_URL", "MANAGEMENT_URL")
SCHEMA = """
CREATE TABLE effect (consumer text, event_id uuid, aggregate_id text, sequence int CHECK (sequence > 0), pid int,
                     at timestamptz DEFAULT clock_timestamp());
CREATE INDEX ON effect (aggregate_id);
CREATE TABLE run (consumer text, event_id uuid, pid int, at timestamptz DEFAULT now());
CREATE TABLE broken (what text);
"""


class LiveBus(Laboratory):
    """Starts and stops processes by name: `relay`, `worker probe`, `web`, `flower`; `relay 2` is a second relay,
    `relay patient` one that does not poll; `worker trouble hasty` one whose circuit breaker probes all the time; `relay
    hasty` and `dead letters hasty` evaluate the alarms all the time."""

    def __init__(self, name: str, *, smtp_port: int, logs: Path, **servers: str) -> None:
        """`servers`: where they are other than the environment says."""
        self.web_port, self.flower_port = free_port(), free_port()
        if "DATABASE_URL" in servers:
            # That server has one role for everything, as long as nothing else is said.
            servers.setdefault("OWNER_DATABASE_URL", "")
        super().__init__(
            name,
            {name: os.environ.get(name, "") for name in SERVERS} | servers,
            settings="tests.live_settings",
            logs=logs,
            EMAIL_URL=f"smtp://127.0.0.1:{smtp_port}",
            PORT=str(self.web_port),
            FLOWER_PORT=str(self.flower_port),
        )
        self.wire = Wire(self.broker_url)
        self.processes: dict[str, Process] = {}
        #: A failed test may have left anything behind; the next one must not fail for it.
        self.is_soiled = False

    def create(self, *, template: str = "template1") -> None:
        """Make database and vhost, and everything in them, with the product's own commands."""
        super().create(template=template)
        self.query(SCHEMA)
        self.manage("migrate", "--verbosity", "0")
        self.manage("declare_topology")

    def remove(self) -> None:
        """End every process, then remove vhost and database."""
        self.kill9(*self.processes)
        super().remove()

    def management(self, what: str) -> list[dict[str, Any]]:
        """The broker's own list of `queues`, `bindings` or `exchanges` of this vhost."""
        listed: list[dict[str, Any]] = self.broker.ask("GET", f"{what}/{self.name}")
        return listed

    def forget(self, consumer: str) -> None:
        """Remove a consumer that only one test has declared, and all traces of it."""
        for queue in (consumer, f"{consumer}.dead"):
            self.broker.ask("DELETE", f"queues/{self.name}/{queue}")
        for table in ("subscription", "event_replay", "effect", "processed_event", "ordered_position", "dead_letter"):
            self.query(f"DELETE FROM {table} WHERE consumer = %s", consumer)

    def renew(self) -> None:
        """Begin anew with an empty database and vhost."""
        self.remove()
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
        done = self.run("manage.py", *arguments, **env)
        said = done.stderr + done.stdout
        what = f"manage.py {' '.join(arguments)} ended with {done.returncode}, not {expect}"
        assert done.returncode == expect, f"{what}:\n{said}"
        return said

    def start(self, *names: str, failpoint: str = "", **env: str) -> None:
        """Start processes, at this failpoint, and wait until each works. With a failpoint it may die at once."""
        for name in names:
            process = self.processes.setdefault(name, self.process(name, command(name)))
            process.start(FAILPOINT=failpoint, **env)
        for name in names:
            wait_until(partial(self._is_ready_or_dead, name), 60, f"{name} to be ready")

    def ensure(self, *names: str) -> None:
        """Start those of the processes that do not run."""
        self.start(*[name for name in names if name not in self.processes or not self.processes[name].is_alive])

    def restart(self, *names: str, failpoint: str = "", **env: str) -> None:
        """Kill processes where they still run, and start them, now with or without a failpoint."""
        self.kill9(*(name for name in names if name in self.processes))
        self.start(*names, failpoint=failpoint, **env)

    def kill9(self, *names: str) -> None:
        for name in names:
            self.processes[name].kill()

    def term(self, *names: str) -> None:
        """Ask them to end, all at once, and wait until they have."""
        for name in names:
            self.processes[name].signal(signal.SIGTERM)
        for name in names:
            self.processes[name].wait(60)

    def only(self, *names: str) -> None:
        """End every process but these, which run afterwards."""
        self.kill9(*(name for name, process in self.processes.items() if process.is_alive and name not in names))
        self.ensure(*names)

    def __getitem__(self, name: str) -> Process:
        return self.processes[name]

    def _is_ready_or_dead(self, name: str) -> bool:
        process = self.processes[name]
        if process.is_alive:
            return is_ready(process)
        assert process.env_at_start["FAILPOINT"], f"{name} ended at its start with {process.wait(0)}"
        return True

    def lost_children(self, worker: str) -> int:
        """How many pool processes a worker has seen killed since its start."""
        return self[worker].says().count("exited with 'signal 9")

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

    def drain(self, quiet: float = 60) -> None:
        """Wait until outbox and queues are empty: every event is handled, or a dead letter, at every consumer.

        As long as something moves, however much there is and however slow the machine; `quiet`: for how many seconds
        nothing may move.
        """
        assert effects.settle(self, DRAIN, quiet=quiet) is not None, f"unsettled: {effects.unsettled(self)[:5]}"

    def verify(self) -> None:
        """The product's own check over the whole database."""
        assert effects.violations(self) == []

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

    def wait_for(self, condition: Callable[[], T | None], what: str, seconds: float = 60) -> T:
        return wait_until(condition, seconds, what)


def command(name: str) -> str:
    """How a process of this name is started."""
    match name.split():
        case ["relay", "patient"]:
            return "python -m tests.support.patient_relay"
        case ["worker", group, "hasty"]:
            return f"python -m tests.support.hasty_worker {group}"
        case ["relay" | "dead", *_, "hasty"] as words:
            return f"python -m tests.support.hasty_watcher {'relay' if words[0] == 'relay' else 'ingest_dead_letters'}"
        case ["worker", group, *_]:
            return f"python manage.py worker {group}"
        case ["dead", "letters"]:
            return procfile.commands()["worker_dead_letters"]
    return procfile.commands()[name.split()[0]]
