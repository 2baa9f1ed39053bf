"""Processes and servers that end, or stop in mid-breath."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tools.chaos.kinds import Fault, NothingToHit, Scene, kind
from tools.chaos.stage import BEAT, DEAD_LETTERS, DELIVERER, RELAY, UPKEEP, WEB, WORKERS
from tools.harness.clock import LIBRARY, wrong_by
from tools.harness.servers import BROKER, MAIL, POSTGRES, signal_if_there

EACH_WORKER = dict.fromkeys(WORKERS, 1)


@kind(
    "kill",
    {WEB: 3, RELAY: 3, **EACH_WORKER, DELIVERER: 1, DEAD_LETTERS: 1, BEAT: 1, UPKEEP: 1, BROKER: 2, POSTGRES: 1},
    takes_away=True,
)
@contextmanager
def kill(scene: Scene, fault: Fault) -> Iterator[None]:
    """Kill -9. It starts again at once, which takes a server a while."""
    if not scene.stage.kill(fault.target):
        raise NothingToHit
    yield
    if fault.target in scene.stage.servers.services:
        scene.stage.servers.restart(fault.target)


@kind("outage", {MAIL: 2}, lasts=(2, 6))
@contextmanager
def outage(scene: Scene, fault: Fault) -> Iterator[None]:
    """Kill -9, and it is away for a while."""
    if not scene.stage.kill(fault.target):
        raise NothingToHit
    yield
    scene.stage.servers.restart(fault.target)


@kind("stop-at-once", {POSTGRES: 1}, takes_away=True)
@contextmanager
def stop_at_once(scene: Scene, fault: Fault) -> Iterator[None]:
    pid = scene.stage.servers.stop_at_once(fault.target)
    if pid is None:
        raise NothingToHit
    yield
    scene.stage.servers.await_end(fault.target, pid)
    scene.stage.servers.restart(fault.target)


@kind("kill-child", {WEB: 1, **EACH_WORKER})
@contextmanager
def kill_child(scene: Scene, fault: Fault) -> Iterator[None]:
    signal_if_there(_child(scene, fault), signal.SIGKILL)
    yield


@kind("pause", dict.fromkeys((WEB, RELAY, *WORKERS[:3], BROKER, POSTGRES), 1), lasts=(2, 6), takes_away=True)
@contextmanager
def pause(scene: Scene, fault: Fault) -> Iterator[None]:
    """With all that belongs to it."""
    if not scene.stage.pause(fault.target):
        raise NothingToHit
    yield
    scene.stage.resume(fault.target)


@kind("freeze", {RELAY: 2, **dict.fromkeys(WORKERS[:3], 1)}, lasts=(10, 60))
@contextmanager
def freeze(scene: Scene, fault: Fault) -> Iterator[None]:
    """A relay, or the parent of a worker whose children go on."""
    pid = scene.stage.pid(fault.target)
    if pid is None:
        raise NothingToHit
    signal_if_there(pid, signal.SIGSTOP)
    yield
    signal_if_there(pid, signal.SIGCONT)  # somebody may have replaced it


@kind("freeze-child", EACH_WORKER, lasts=(10, 60))
@contextmanager
def freeze_child(scene: Scene, fault: Fault) -> Iterator[None]:
    pid = _child(scene, fault)
    signal_if_there(pid, signal.SIGSTOP)
    yield
    signal_if_there(pid, signal.SIGCONT)


@kind("wrong-clock", {WEB: 1, **dict.fromkeys(WORKERS[:3], 1)}, lasts=(15, 45))
@contextmanager
def wrong_clock(scene: Scene, fault: Fault) -> Iterator[None]:
    """It starts again with a clock that is an hour behind or ahead, and once more with a right one."""
    if LIBRARY is None:
        raise NothingToHit("no libfaketime")
    wrong = wrong_by("-1h" if fault.pick < 0.5 else "+1h")
    if not scene.stage.restart_with(fault.target, **wrong):
        scene.stage.restart_with(fault.target, **dict.fromkeys(wrong, ""))
        raise NothingToHit
    yield
    scene.stage.restart_with(fault.target, **dict.fromkeys(wrong, ""))


def _child(scene: Scene, fault: Fault) -> int:
    children = scene.stage.children(fault.target)
    if not children:
        raise NothingToHit
    return children[int(fault.pick * len(children))]
