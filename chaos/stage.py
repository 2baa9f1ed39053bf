"""The whole product on private servers: what is started here can be killed, stopped and started again."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from threading import Event as Flag
from threading import Lock
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
from honcho.environ import parse_procfile
from psycopg import sql

from chaos.network import Network
from chaos.waiting import wait_until
from eventbus.broker.connection import connect
from tests.support.scratch import drop_database

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "script/_lib"))

import local  # noqa: E402
import services  # noqa: E402
from keeper import Keeper  # noqa: E402
from local import LOGS, MAILBOX  # noqa: E402
from service import Service, has_ended  # noqa: E402

__all__ = ["LOGS", "MAILBOX", "Stage", "has_ended"]

TEMPLATE = "chaos_template"
WEB, RELAY, MAIL, BROKER, POSTGRES = "web", "relay", "mail", "rabbitmq", "postgres"
WORKERS = (
    "worker_orders",
    "worker_inventory",
    "worker_notifications",
    "worker_shipping",
    "worker_analytics",
    "worker_consumers",
    "worker_chaos",
)
DEAD_LETTERS = "worker_dead_letters"
PRODUCT = (WEB, RELAY, *WORKERS, DEAD_LETTERS)
#: One queue of each worker.
STAFFED = (
    "orders.confirm",
    "inventory.reserve_stock",
    "notifications.deliver_mail",
    "shipping.prepare",
    "analytics.sales_by_day",
    "loyalty.count_points",
    "chaos.tally",
)


class Stage:
    """Servers, one laboratory (a database and a virtual host) at a time, and the processes that work in it."""

    def __init__(self, *, settings: str = "chaos.settings") -> None:
        self.settings = settings
        self.env: dict[str, str] = {}
        self.keepers: dict[str, Keeper] = {}
        self.token = ""
        self.lab = ""
        self.network: Network | None = None
        self._ran_before: set[str] = set()
        self._restarting: dict[str, Lock] = {name: Lock() for name in services.SERVICES}

    # Servers

    def open(self) -> None:
        """Start the servers that do not run."""
        with services.open_local():
            self._ran_before = {name for name, service in services.SERVICES.items() if service.pid()}
            with redirect_stdout(sys.stderr):
                services.start(list(services.SERVICES))
        self.env = local.read_env_file(local.LOCAL / "env")

    def close(self) -> None:
        """End every process, and the servers that were started here."""
        self.end_all()
        if self.network is not None:
            self.network.close()
        with services.open_local(), redirect_stdout(sys.stderr):
            for name in self._ran_before:
                self.resume(name)
            services.stop([name for name in services.SERVICES if name not in self._ran_before])

    def lay_network(self) -> None:
        """From now on each process that is started reaches the broker over a link that can be cut."""
        address = urlsplit(self.env["BROKER_URL"])
        self.network = Network(str(address.hostname), int(address.port or 5672))
        self.network.open()

    def service(self, name: str) -> Service:
        return services.SERVICES[name]

    def restart(self, name: str) -> None:
        """Start a server that was killed, and wait until it answers. Raises RuntimeError if it does not."""
        with self._restarting[name]:
            service = self.service(name)
            try:
                pid = service.pid() or service.spawn()
                service.await_ready(pid)
            except SystemExit as ended:
                raise RuntimeError(f"{name} did not come back: read {service.log}") from ended

    # Laboratories

    def template(self, stock: Mapping[str, int]) -> None:
        """Make the database that each laboratory is a copy of: schema, channel, stock."""
        drop_database(self.env["DATABASE_URL"], TEMPLATE)
        self._sql("CREATE DATABASE {0}", TEMPLATE)
        told = self.python("-m", "chaos.prepare", lab=TEMPLATE, text=json.dumps(stock))
        self.token = json.loads(told.splitlines()[-1])["token"]

    def enter(self, lab: str) -> None:
        """Begin with an empty database and an empty virtual host of that name."""
        self._remove(lab)
        self._sql("CREATE DATABASE {0} TEMPLATE {1}", lab, TEMPLATE)
        self.manage_broker("PUT", f"vhosts/{lab}")
        user = urlsplit(self.env["BROKER_URL"]).username
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self.manage_broker("PUT", f"permissions/{lab}/{user}", everything)
        # The operators' limits hold there too.
        for policy in self.manage_broker("GET", f"policies/{quote('/', safe='')}"):
            self.manage_broker("PUT", f"policies/{lab}/{policy['name']}", {**policy, "vhost": lab})
        self.lab = lab

    def leave(self) -> None:
        """End every process, and remove database and virtual host."""
        self.end_all()
        self._remove(self.lab)

    def _remove(self, lab: str) -> None:
        drop_database(self.env["DATABASE_URL"], lab)
        if any(vhost["name"] == lab for vhost in self.manage_broker("GET", "vhosts")):
            self.manage_broker("DELETE", f"vhosts/{lab}")

    @property
    def database_url(self) -> str:
        return self.env["DATABASE_URL"].rpartition("/")[0] + f"/{self.lab}"

    @property
    def broker_url(self) -> str:
        return self.env["BROKER_URL"].removesuffix("//") + f"/{self.lab}"

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.env['PORT']}/api/v1"

    def query(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """Rows of a query, over a connection of its own."""
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=5) as own:
            cursor = own.execute(statement, params)
            return cursor.fetchall() if cursor.description else []

    def _sql(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.env["DATABASE_URL"], autocommit=True) as server:
            server.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def manage_broker(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the broker's management API."""
        address = urlsplit(self.env["MANAGEMENT_URL"])
        url = f"http://{address.hostname}:{address.port}"
        passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
        passwords.add_password(None, url, address.username or "", address.password or "", is_authenticated=True)
        opener = urllib.request.build_opener(
            # No proxy of the environment between us and our own machine.
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPBasicAuthHandler(passwords),
        )
        request = urllib.request.Request(
            f"{url}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with opener.open(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def queues(self, *names: str) -> list[tuple[int, int]]:
        """(messages that wait, consumers) of each queue, asked of itself: the management API lags by seconds."""
        with connect(self.broker_url) as broker, broker.channel() as channel:
            answers = [channel.queue_declare(name, passive=True) for name in names]
            return [(answer.message_count, answer.consumer_count) for answer in answers]

    def await_staffed(self, seconds: float = 60) -> None:
        """Wait until a relay is connected, and a worker to one queue of each group at least."""
        wait_until(lambda: self.is_ready(RELAY), seconds, "a relay")
        wait_until(lambda: all(consumers for _, consumers in self.queues(*STAFFED)), seconds, "the workers")

    def broker_eval(self, expression: str) -> None:
        """Run a line of Erlang in the broker: for what it can only be told that way."""
        command = [sys.executable, str(ROOT / "script/_lib/services.py"), "rabbitmqctl", "eval", expression]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, start_new_session=True)

    # Processes

    def environment(self, lab: str) -> dict[str, str]:
        """What each process gets: nothing of the caller's own settings but the path."""
        return {
            **os.environ,
            **self.env,
            "DJANGO_SETTINGS_MODULE": self.settings,
            "DATABASE_URL": self.env["DATABASE_URL"].rpartition("/")[0] + f"/{lab}",
            "BROKER_URL": self.env["BROKER_URL"].removesuffix("//") + f"/{lab}",
            "EMAIL_URL": self.env["EMAIL_URL"],
            "DEBUG": "off",
            "HTTPS": "off",
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "INFO",
            "WORKER_PROCESSES": "2",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore",
        }

    def python(self, *arguments: str, lab: str = "", text: str = "", expect: tuple[int, ...] = (0,)) -> str:
        """Run Python under the stage's settings; returns what it prints. Raises RuntimeError on another exit code."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment(lab or self.lab),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        if done.returncode not in expect:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def commands(self) -> dict[str, str]:
        """The commands of the processes, by name: the Procfile's, and the worker of the consumer that counts."""
        procfile: dict[str, str] = parse_procfile((ROOT / "Procfile").read_text()).processes
        return {**procfile, "worker_chaos": "python manage.py worker chaos"}

    def start(self, *names: str, **env: str) -> None:
        """Start processes, which are started again whenever they end, until end()."""
        commands = self.commands()
        for name in names:
            self.log(name).write_bytes(b"")
            env_of_it = self.environment(self.lab) | self._link(name) | env
            keeper = Keeper(name, commands[name], env=env_of_it, say=self._note, stopping=Flag())
            self.keepers[name] = keeper
            keeper.start()

    def _link(self, name: str) -> dict[str, str]:
        if self.network is None:
            return {}
        address = urlsplit(self.broker_url)
        login = address.netloc.rpartition("@")[0]
        return {"BROKER_URL": address._replace(netloc=f"{login}@127.0.0.1:{self.network.link(name)}").geturl()}

    def cut_off(self, name: str) -> bool:
        """Cut a process off from the broker; whether it ran."""
        if self.network is None or self.pid(name) is None:
            return False
        self.network.cut(name)
        return True

    def join(self, name: str) -> None:
        """Let it reach the broker again."""
        if self.network is not None:
            self.network.mend(name)

    def await_ready(self, *names: str, seconds: float = 90) -> None:
        """Wait until each of these does its work."""
        for name in names:
            wait_until(lambda name=name: self.is_ready(name), seconds, f"{name} to be ready")  # type: ignore[misc]

    def await_alive(self, seconds: float = 60) -> None:
        """Wait until every process runs, and web and servers answer."""
        for name in (*services.SERVICES, *self.keepers):
            wait_until(lambda name=name: self.pid(name), seconds, f"{name} to run")  # type: ignore[misc]
        for name in services.SERVICES:
            wait_until(self.service(name).answers, seconds, f"{name} to answer")
        wait_until(lambda: self.is_ready(WEB), seconds, "web to answer")

    def is_ready(self, name: str) -> bool:
        if name == RELAY:
            return self.query("SELECT 1 FROM pg_stat_activity WHERE application_name = 'relay' LIMIT 1") != []
        if name == WEB:
            return self._answers(f"http://127.0.0.1:{self.env['PORT']}/health/ready")
        if name == DEAD_LETTERS:
            return self.pid(name) is not None
        return "ready." in self.says(name)

    def _answers(self, url: str) -> bool:
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def log(self, name: str) -> Path:
        return LOGS / f"chaos-{name}.log"

    def _note(self, name: str, line: bytes | str) -> None:
        text = line if isinstance(line, bytes) else f"chaos: {line}\n".encode()
        with self.log(name).open("ab") as log:
            log.write(text)

    def says(self, name: str) -> str:
        """What a process has said since start()."""
        return self.log(name).read_text(errors="replace") if self.log(name).exists() else ""

    def pid(self, name: str) -> int | None:
        """The process of that name, or the server; None while it does not run."""
        keeper = self.keepers.get(name)
        if keeper is None:
            return self.service(name).pid() if name in services.SERVICES else None
        process = keeper.process
        return process.pid if process is not None and process.returncode is None else None

    def kill(self, name: str) -> bool:
        """Kill -9, a process with its children; whether it ran. A server stays dead, a process is started again."""
        pid = self.pid(name)
        if pid is None:
            return False
        if name in self.keepers:
            self.keepers[name].signal(signal.SIGKILL)
        else:
            self.service(name).kill(pid)
        return True

    def children(self, name: str) -> list[int]:
        """The children of a process, oldest first."""
        pid = self.pid(name)
        if pid is None:
            return []
        try:
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            return []

    def pause(self, name: str) -> bool:
        """Stop a process or server, with all that belongs to it, in mid-breath; whether it ran."""
        return self._signal_all(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let it go on."""
        self._signal_all(name, signal.SIGCONT)

    def _signal_all(self, name: str, number: signal.Signals) -> bool:
        pid = self.pid(name)
        if pid is None:
            return False
        # PostgreSQL's children have groups of their own; they bear its name in their titles.
        others = services.SERVICES[POSTGRES].orphans() if name == POSTGRES else self.children(name)  # type: ignore[attr-defined]
        for each in (pid, *others):
            try:
                os.kill(each, number)
            except ProcessLookupError:
                continue
        return True

    def end(self, *names: str) -> None:
        """Kill processes for good."""
        ending = [self.keepers.pop(name) for name in names if name in self.keepers]
        for keeper in ending:
            keeper.stopping.set()
            keeper.signal(signal.SIGKILL)
        for keeper in ending:
            keeper.join(20)

    def end_all(self) -> None:
        self.end(*self.keepers)
