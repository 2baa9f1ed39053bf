"""The network between one process and one server."""

from collections.abc import Iterator
from contextlib import contextmanager

from tools.chaos.kinds import Fault, NothingToHit, Scene, kind
from tools.chaos.network import Network
from tools.chaos.stage import DEAD_LETTERS, RELAY, WEB, WORKERS
from tools.harness.servers import BROKER, POSTGRES

#: Past the heartbeats of the workers' connections: the broker gives what they hold to others, or to them once more.
LASTS = (2, 30)
TO_BROKER = {f"{name} to {BROKER}": weight for name, weight in ((RELAY, 2), *((each, 1) for each in WORKERS))}
TO_POSTGRES = {f"{name} to {POSTGRES}": 1 for name in (WEB, RELAY, *WORKERS[:3], DEAD_LETTERS)}


@kind("cut", {**TO_BROKER, f"{DEAD_LETTERS} to {BROKER}": 1, **TO_POSTGRES}, lasts=LASTS)
@contextmanager
def cut(scene: Scene, fault: Fault) -> Iterator[None]:
    """What is sent arrives late, and nobody hears of an end."""
    network = _laid(scene, fault)
    network.cut(fault.target)
    yield
    network.restore(fault.target)


@kind("swallow", {**TO_BROKER, **TO_POSTGRES}, lasts=LASTS)
@contextmanager
def swallow(scene: Scene, fault: Fault) -> Iterator[None]:
    """What is sent is acknowledged, and never arrives."""
    network = _laid(scene, fault)
    network.swallow(fault.target)
    yield
    network.keep(fault.target)


def _laid(scene: Scene, fault: Fault) -> Network:
    network, name = scene.stage.network, fault.target.split(" to ")[0]
    if network is None or scene.stage.pid(name) is None:
        raise NothingToHit
    return network
