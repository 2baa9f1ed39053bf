"""A private cluster of three RabbitMQ nodes: on ports of their own, or each in a network namespace, so that the network
between them can be cut. For the fault tests; started and stopped by them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass

from script._lib.local import AMQP_PORT, LOGS, OFFSET, fail, passwords
from script._lib.rabbitmq import USERS, RabbitMQ
from script._lib.service import check_port, has_ended
from script._lib.waiting import comes_true

NODES = (1, 2, 3)
#: Behind the ports of the single node: name server, then three for each node.
FIRST_PORT = AMQP_PORT + 20
#: Seconds without a sign of life after which a node takes another for gone (default 60). A minority then stops itself,
#: its clients go to the majority, and publishing goes on.
NET_TICK = 8


@dataclass(frozen=True)
class Network:
    """Three namespaces on a bridge that this machine reaches too. Needs root, `ip` and `nft`."""

    name: str = f"mq{OFFSET}"
    subnet: str = f"10.213.{OFFSET % 250}"

    def missing(self) -> str:
        """Why there can be no such network here; nothing if there can."""
        if os.geteuid() != 0:
            return "network namespaces need root"
        for tool in ("ip", "nft"):
            if not shutil.which(tool):
                return f"`{tool}` is not installed (apt-get install iproute2 nftables)"
        tried = _run("ip", "netns", "add", f"{self.name}-try")
        _run("ip", "netns", "delete", f"{self.name}-try")
        return f"network namespaces are not permitted: {tried.stderr.strip()}" if tried.returncode else ""

    def host(self, number: int) -> str:
        return f"{self.subnet}.{number}"

    def namespace(self, number: int) -> str:
        return f"{self.name}-{number}"

    def make(self) -> None:
        self.remove()
        _must("ip", "link", "add", self.name, "type", "bridge")
        _must("ip", "address", "add", f"{self.subnet}.254/24", "dev", self.name)
        _must("ip", "link", "set", self.name, "up")
        for number in NODES:
            space, outside = self.namespace(number), f"{self.name}v{number}"
            _must("ip", "netns", "add", space)
            _must("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", space)
            _must("ip", "link", "set", outside, "master", self.name, "up")
            self._inside(number, "ip", "address", "add", f"{self.host(number)}/24", "dev", "eth0")
            self._inside(number, "ip", "link", "set", "eth0", "up")
            self._inside(number, "ip", "link", "set", "lo", "up")

    def remove(self) -> None:
        for number in NODES:
            _run("ip", "netns", "delete", self.namespace(number))
            _run("ip", "link", "delete", f"{self.name}v{number}")
        _run("ip", "link", "delete", self.name)

    def cut_off(self, number: int) -> None:
        """Drop every packet between this node and the others; this machine still reaches all three."""
        others = ", ".join(self.host(other) for other in NODES if other != number)
        chain = f"type filter hook input priority 0\nip saddr {{ {others} }} drop"
        self._inside(number, "nft", f"table ip cut {{\nchain input {{\n{chain}\n}}\n}}")

    def join(self, number: int) -> None:
        self._inside(number, "nft", "delete table ip cut")

    def _inside(self, number: int, *command: str) -> None:
        _must("ip", "netns", "exec", self.namespace(number), *command)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _must(*command: str) -> None:
    done = _run(*command)
    if done.returncode:
        fail(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


class Node(RabbitMQ):
    """One of the three."""

    patience = 180.0  # they wait for each other

    def __init__(self, number: int, network: Network | None) -> None:
        self.name = f"rabbitmq-{number}"
        super().__init__()
        self.number, self.network = number, network
        self.host = network.host(number) if network else "127.0.0.1"
        first = AMQP_PORT if network else FIRST_PORT + 3 * number
        self.amqp, self.management, self.dist = first, first + 1, first + 2
        self.epmd = AMQP_PORT + 3 if network else FIRST_PORT
        # In a namespace of their own nobody else can hold them.
        self.ports = () if network else (self.amqp, self.management, self.dist)

    @property
    def nodename(self) -> str:
        return f"mq{self.number}@{self.host if self.network else 'localhost'}"

    def environment(self) -> dict[str, str]:
        interface = self.host.replace(".", ",")
        return super().environment() | {
            "ERL_EPMD_PORT": str(self.epmd),
            "ERL_EPMD_ADDRESS": self.host,
            "RABBITMQ_NODENAME": self.nodename,
            "RABBITMQ_USE_LONGNAME": "true" if self.network else "false",
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.amqp),
            "RABBITMQ_DIST_PORT": str(self.dist),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {{{interface}}} "
            f"net_ticktime {NET_TICK} +sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def prepare(self) -> None:
        super().prepare()
        # The same for all: they must know each other.
        cookie = self.home / ".erlang.cookie"
        cookie.unlink(missing_ok=True)
        cookie.write_text(passwords()["broker"].replace("-", "x").replace("_", "x"))
        cookie.chmod(0o400)
        nodes = [Node(number, self.network).nodename for number in NODES]
        lines = [
            f"listeners.tcp.default = {self.host}:{self.amqp}",
            f"management.tcp.ip = {self.host}",
            f"management.tcp.port = {self.management}",
            f"load_definitions = {self.home / 'definitions.json'}",
            "cluster_partition_handling = pause_minority",
            "cluster_formation.peer_discovery_backend = classic_config",
            *(f"cluster_formation.classic_config.nodes.{n} = {name}" for n, name in enumerate(nodes, 1)),
        ]
        (self.home / "rabbitmq.conf").write_text("\n".join(lines) + "\n")

    def entrance(self) -> list[str]:
        network = ["ip", "netns", "exec", self.network.namespace(self.number)] if self.network else []
        return [*network, *super().entrance()]

    def start_epmd(self) -> None:
        """One for all nodes, or one in each namespace."""
        keeper = self if self.network else Node(1, None)
        if keeper.epmd_pid():
            return
        keeper.home.mkdir(mode=0o700, exist_ok=True)
        if not self.network:
            check_port(self.epmd, f"PORT_OFFSET (now {OFFSET})")
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*self.entrance(), "epmd", "-port", str(self.epmd), "-address", self.host],
                cwd=keeper.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # It outlives us, and is known by its pid alone: nothing of it is left for Popen to complain about.
        process.returncode = 0
        keeper.epmd_pid_file.write_text(str(process.pid))

    def management_url(self) -> str:
        return f"http://pipeline_declaring:{passwords()['declaring']}@{self.host}:{self.management}"

    def url(self, vhost: str, user: str = "pipeline") -> str:
        return f"amqp://{user}:{passwords()[USERS[user][0]]}@{self.host}:{self.amqp}/{vhost}"

    def stop_alone(self) -> None:
        """Stop the node, as for an upgrade; the name server goes on for the others."""
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            if not comes_true(lambda: has_ended(pid), 60):
                self.kill(pid)


class Cluster:
    """The three nodes. Begins empty."""

    def __init__(self, network: Network | None = None) -> None:
        self.network = network
        self.nodes = [Node(number, network) for number in NODES]

    def start(self) -> None:
        """Returns when all three answer."""
        for node in self.nodes:
            shutil.rmtree(node.home, ignore_errors=True)
        if self.network:
            self.network.make()
        LOGS.mkdir(mode=0o700, parents=True, exist_ok=True)
        started = [(node, node.spawn()) for node in self.nodes]
        for node, pid in started:
            node.await_ready(pid)

    def stop(self) -> None:
        for node in self.nodes:
            if pid := node.pid():
                node.kill(pid)  # nothing of it is kept
        for node in self.nodes:
            node.stop()
            shutil.rmtree(node.home, ignore_errors=True)
        if self.network:
            self.network.remove()

    def urls(self, vhost: str, user: str = "pipeline") -> str:
        """All nodes as one BROKER_URL, or as another user's."""
        return ";".join(node.url(vhost, user) for node in self.nodes)
