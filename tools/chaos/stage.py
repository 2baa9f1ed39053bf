"""The whole product on private servers: what is started here can be killed, stopped and started again."""

import json
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from threading import Event as Flag
from typing import Self
from urllib.parse import urlsplit

from eventbus.broker.connection import connect
from script._lib import procfile
from script._lib.local import LOGS
from script._lib.process import Process
from script._lib.supervisor import Supervisor
from script._lib.waiting import wait_until
from tools.chaos.network import Network
from tools.harness.laboratory import Laboratory
from tools.harness.readiness import is_ready
from tools.harness.servers import BROKER, MAIL, POSTGRES, Servers, signal_if_there
from tools.harness.shop import Shop

TEMPLATE = "chaos_template"
WEB, RELAY = "web", "relay"
WORKERS = (
    "worker_orders",
    "worker_inventory",
    "worker_notifications",
    "worker_shipping",
    "worker_analytics",
    "worker_webhooks",
    "worker_consumers",
    "worker_chaos",
)
#: What `worker_webhooks` writes down, it sends.
DELIVERER = "deliver_webhooks"
DEAD_LETTERS = "worker_dead_letters"
BEAT, UPKEEP = "beat", "worker_eventbus"
#: What orders need.
PRODUCT = (WEB, RELAY, *WORKERS, DELIVERER, DEAD_LETTERS)
#: What nobody may miss for a while.
CARETAKERS = (BEAT, UPKEEP)
#: One queue of each worker.
STAFFED = (
    "orders.confirm",
    "inventory.reserve_stock",
    "notifications.deliver_mail",
    "shipping.prepare",
    "analytics.sales_by_day",
    "webhooks.queue_deliveries",
    "loyalty.count_points",
    "chaos.tally",
)


#: The variables that hold the servers' addresses, and whose each is.
ADDRESSES = {
    "DATABASE_URL": POSTGRES,
    "OWNER_DATABASE_URL": POSTGRES,
    "BROKER_URL": BROKER,
    "DECLARING_BROKER_URL": BROKER,
    "EMAIL_URL": MAIL,
}


class Stage:
    """Servers, one laboratory at a time, and the processes that work in it. Each is started again whenever it ends.

    To be entered: its servers run, and its processes can be, until the block ends.
    """

    #: Whose processes these are.
    settings = "tools.chaos.settings"

    def __init__(self) -> None:
        self.servers = Servers()
        self.supervisors: dict[str, Supervisor] = {}
        self.network: Network | None = None
        self._channel: dict[str, str | int] = {}
        self._until_the_end = ExitStack()

    def __enter__(self) -> Self:
        self._until_the_end.enter_context(self.servers.running())
        return self

    def __exit__(self, *_: object) -> None:
        with self._until_the_end:
            self.end_all()
            # Only now is nobody connected through it.
            if self.network is not None:
                self.network.close()

    def lay_network(self) -> None:
        """From now on each process that is started reaches each server over a link of its own."""
        self.network = Network()
        self.network.open()

    # Laboratories

    def template(self, stock: Mapping[str, int]) -> None:
        """Make the database that each laboratory is a copy of: schema, channel, stock."""
        template = self._laboratory(TEMPLATE)
        template.drop_database()
        template.create_database()
        told = template.python("-m", "tools.chaos.prepare", text=json.dumps(stock))
        self._channel = json.loads(told.splitlines()[-1])

    def enter(self, name: str) -> None:
        """Begin with an empty database and an empty virtual host of that name."""
        self.lab = self._laboratory(name)
        self.lab.remove()
        self.lab.create(template=TEMPLATE)

    def leave(self) -> None:
        """End every process, and remove database and virtual host."""
        self.end_all()
        self.lab.remove()

    def _laboratory(self, name: str) -> Laboratory:
        return Laboratory(name, self.servers.env, settings=self.settings, logs=LOGS)

    def shop(self) -> Shop:
        """The channel of the template, with a log that is empty."""
        api = f"http://127.0.0.1:{self.lab.env['PORT']}/api/v1"
        return Shop(api, str(self._channel["token"]), int(self._channel["channel_id"]), patience=10)

    def queues(self, *names: str) -> list[tuple[int, int]]:
        """(messages that wait, consumers) of each queue, asked of itself: the management API lags by seconds."""
        with connect(self.lab.broker_url) as broker, broker.channel() as channel:
            answers = [channel.queue_declare(name, passive=True) for name in names]
            return [(answer.message_count, answer.consumer_count) for answer in answers]

    # Processes

    def commands(self) -> dict[str, str]:
        """The commands of the processes, by name: the Procfile's, and the worker of the consumer that counts."""
        return {**procfile.commands(), "worker_chaos": "python manage.py worker chaos"}

    def start(self, *names: str, **env: str) -> None:
        """Start processes, each with an empty log, and start them again whenever they end, until end()."""
        commands = self.commands()
        for name in names:
            process = self.lab.process(name, commands[name], **self._links(name), **env)
            process.log.write_bytes(b"")
            supervisor = Supervisor(process, say=partial(_note, process), stopping=Flag())
            self.supervisors[name] = supervisor
            supervisor.start()

    def _links(self, name: str) -> dict[str, str]:
        """The addresses of the servers as this process is to know them."""
        return {
            variable: self._over_link(self.lab.env[variable], f"{name} to {server}")
            for variable, server in ADDRESSES.items()
            if self.network is not None
        }

    def _over_link(self, url: str, link: str) -> str:
        assert self.network is not None
        address = urlsplit(url)
        port = self.network.link(link, str(address.hostname), int(address.port or 0))
        login, at, _ = address.netloc.rpartition("@")
        return address._replace(netloc=f"{login}{at}127.0.0.1:{port}").geturl()

    def restart_with(self, name: str, **env: str) -> bool:
        """Kill a process; from now on it is started with this beside its environment. Whether it ran."""
        if name in self.supervisors:
            process = self.supervisors[name].process
            process.env = {**process.env, **env}
        return self.kill(name)

    def await_ready(self, *names: str, seconds: float = 90) -> None:
        """Wait until each of these does its work."""
        for name in names:
            wait_until(partial(is_ready, self.supervisors[name].process), seconds, f"{name} to be ready")

    def await_staffed(self, seconds: float = 60) -> None:
        """Wait until a relay is connected, and a worker to one queue of each group at least."""
        self.await_ready(RELAY, seconds=seconds)
        wait_until(lambda: all(consumers for _, consumers in self.queues(*STAFFED)), seconds, "the workers")

    def await_alive(self, seconds: float = 60) -> None:
        """Wait until every process runs, and web and servers answer."""
        for name in (*self.servers.services, *self.supervisors):
            wait_until(partial(self.pid, name), seconds, f"{name} to run")
        for name, service in self.servers.services.items():
            wait_until(service.answers, seconds, f"{name} to answer")
        self.await_ready(WEB, seconds=seconds)

    def says(self, name: str) -> str:
        """What a process has said since start()."""
        return self.supervisors[name].process.says(0)

    def pid(self, name: str) -> int | None:
        """The process of that name, or the server; None while it does not run."""
        if name in self.supervisors:
            process = self.supervisors[name].process
            return process.pid if process.is_alive else None
        return self.servers.pid(name) if name in self.servers.services else None

    def kill(self, name: str) -> bool:
        """Kill -9, a process with its children; whether it ran. A server stays dead, a process is started again."""
        if name not in self.supervisors:
            return name in self.servers.services and self.servers.kill(name)
        is_there = self.pid(name) is not None
        self.supervisors[name].signal(signal.SIGKILL)
        return is_there

    def children(self, name: str) -> list[int]:
        """The children of a process, oldest first."""
        return self.supervisors[name].process.children() if self.pid(name) is not None else []

    def pause(self, name: str) -> bool:
        """Stop a process or server, with all that belongs to it, in mid-breath; whether it ran."""
        if name in self.servers.services:
            return self.servers.pause(name)
        return self._signal_all(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let it go on."""
        if name in self.servers.services:
            self.servers.resume(name)
        else:
            self._signal_all(name, signal.SIGCONT)

    def _signal_all(self, name: str, number: signal.Signals) -> bool:
        pid = self.pid(name)
        if pid is None:
            return False
        for each in (pid, *self.children(name)):
            signal_if_there(each, number)
        return True

    def end(self, *names: str) -> None:
        """Kill processes for good."""
        ending = [self.supervisors.pop(name) for name in names if name in self.supervisors]
        for supervisor in ending:
            supervisor.stopping.set()
            supervisor.signal(signal.SIGKILL)
        for supervisor in ending:
            supervisor.join(20)

    def end_all(self) -> None:
        self.end(*self.supervisors)


def _note(process: Process, text: str) -> None:
    """Write into the log of a process what happened to it."""
    with process.log.open("a") as log:
        log.write(f"chaos: {text}\n")
